/*
 * What Rust may use of DPDK, and nothing else.
 *
 * bindgen reads this file only, and it includes as little of DPDK as it can:
 * the mbuf layout. Everything that is a static inline in DPDK, has an
 * anonymous union, a bit field or a struct that differs between releases ends
 * here, behind a gh_ function and plain structs of our own. So Rust sees no
 * anonymous union, and a release that moves a field (24.11 did) changes numbers,
 * not code.
 *
 * Return values: 0 or a positive errno, unless said otherwise.
 */
#ifndef GH_SHIM_H
#define GH_SHIM_H

#include <stddef.h>
#include <stdint.h>

#include <rte_mbuf_core.h>
#include <rte_version.h>

struct rte_mempool;

/* Where the fields of an mbuf are, as bytes from its start. */
enum gh_mbuf_layout {
	GH_MBUF_SIZE = sizeof(struct rte_mbuf),
	GH_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	GH_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	GH_MBUF_REFCNT = offsetof(struct rte_mbuf, refcnt),
	GH_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	GH_MBUF_PORT = offsetof(struct rte_mbuf, port),
	GH_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	GH_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	GH_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	GH_MBUF_VLAN_TCI = offsetof(struct rte_mbuf, vlan_tci),
	GH_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	GH_MBUF_POOL = offsetof(struct rte_mbuf, pool),
	GH_MBUF_NEXT = offsetof(struct rte_mbuf, next),
};

/* And how wide: Rust's loads and stores rely on it. */
#define GH_WIDTH(field, type)                                                                      \
	_Static_assert(sizeof(((struct rte_mbuf *)0)->field) == sizeof(type),                     \
		       "the width of rte_mbuf." #field " changed")
GH_WIDTH(buf_addr, void *);
GH_WIDTH(data_off, uint16_t);
GH_WIDTH(nb_segs, uint16_t);
GH_WIDTH(port, uint16_t);
GH_WIDTH(ol_flags, uint64_t);
GH_WIDTH(pkt_len, uint32_t);
GH_WIDTH(data_len, uint16_t);
GH_WIDTH(vlan_tci, uint16_t);
GH_WIDTH(buf_len, uint16_t);
GH_WIDTH(next, void *);

static const uint32_t GH_HEADROOM = RTE_PKTMBUF_HEADROOM;
static const uint64_t GH_RX_VLAN_STRIPPED = RTE_MBUF_F_RX_VLAN_STRIPPED;
static const uint64_t GH_RX_IP_CKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t GH_RX_IP_CKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t GH_RX_IP_CKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
/* Everything an mbuf's flags may keep when it is sent as a plain frame. */
static const uint64_t GH_TX_KEEP = RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;

/* --- environment -------------------------------------------------------- */

/* One message of DPDK's log: level 1 (emergency) to 8 (debug), not ended by 0. */
typedef void (*gh_log_fn)(uint32_t level, const char *text, size_t len);

/* Sends DPDK's log to fn from now on instead of stdout and syslog. */
int gh_log_to(gh_log_fn fn);

int gh_eal_init(int argc, char **argv);
int gh_eal_cleanup(void);
/* Where the EAL keeps its files; "" before the EAL knows. */
const char *gh_runtime_dir(void);
const char *gh_version(void);
const char *gh_strerror(int err);

int gh_thread_register(void);
void gh_thread_unregister(void);
/* UINT32_MAX on a thread that is not registered. */
uint32_t gh_lcore_id(void);

uint64_t gh_rdtsc(void);
uint64_t gh_tsc_hz(void);

/* --- pools and buffers -------------------------------------------------- */

/* NULL and *err on failure. socket -1: any. */
struct rte_mempool *gh_pool_create(const char *name, uint32_t buffers, uint32_t cache,
				   uint16_t data_room, int socket, int *err);
void gh_pool_free(struct rte_mempool *pool);
uint32_t gh_pool_in_use(const struct rte_mempool *pool);
/* Memory that one buffer takes, with its mbuf and the pool's own words. */
uint32_t gh_pool_bytes_per_buffer(uint16_t data_room);
/* Largest per-thread cache. */
uint32_t gh_pool_cache_max(void);
/* Bytes of packet memory free in the EAL's heaps. */
uint64_t gh_heap_free(void);

struct rte_mbuf *gh_mbuf_alloc(struct rte_mempool *pool);
int gh_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, uint32_t n);
void gh_mbuf_free(struct rte_mbuf *mbuf);
/* n is at least 1. */
void gh_mbuf_free_bulk(struct rte_mbuf **mbufs, uint32_t n);
/* Links b behind a: only tests need chains. */
int gh_mbuf_chain(struct rte_mbuf *a, struct rte_mbuf *b);

/* --- ports -------------------------------------------------------------- */

enum gh_offload {
	GH_OFFLOAD_RX_IPV4_CKSUM = 1,
	GH_OFFLOAD_RSS_IP = 2,
	GH_OFFLOAD_TX_FAST_FREE = 4,
	GH_OFFLOAD_RX_VLAN_STRIP = 8,
};

struct gh_port_info {
	const char *driver;
	uint32_t offloads; /* gh_offload bits on offer */
	uint32_t max_frame; /* largest frame received, bytes */
	int32_t socket; /* NUMA socket, -1 if any */
	uint16_t max_rx_queues;
	uint16_t max_tx_queues;
	uint16_t min_mtu;
	uint16_t max_mtu;
};

struct gh_port_conf {
	uint32_t offloads; /* gh_offload bits to use */
	uint16_t rx_queues;
	uint16_t tx_queues;
	uint16_t mtu; /* 0: the driver's default */
};

struct gh_port_stats {
	uint64_t rx_packets;
	uint64_t rx_bytes;
	uint64_t rx_missed;
	uint64_t rx_errors;
	uint64_t rx_no_buffer;
	uint64_t tx_packets;
	uint64_t tx_bytes;
	uint64_t tx_errors;
};

struct gh_link {
	uint32_t speed_mbps; /* 0 if unknown */
	uint32_t up;
};

/* bus "vdev" or "pci"; name and arguments apart. */
int gh_device_attach(const char *bus, const char *name, const char *args);
int gh_port_find(const char *name, uint16_t *port);
int gh_port_info(uint16_t port, struct gh_port_info *info);
int gh_port_configure(uint16_t port, const struct gh_port_conf *conf);
/* Brings descriptor counts within what the driver takes. */
int gh_port_adjust_descriptors(uint16_t port, uint16_t *rx, uint16_t *tx);
int gh_rx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors,
		      struct rte_mempool *pool);
int gh_tx_queue_setup(uint16_t port, uint16_t queue, uint16_t descriptors);
int gh_port_start(uint16_t port);
int gh_port_stop(uint16_t port);
int gh_port_close(uint16_t port);
int gh_port_mac(uint16_t port, uint8_t mac[6]);
int gh_port_set_mac(uint16_t port, const uint8_t mac[6]);
int gh_port_mtu(uint16_t port, uint16_t *mtu);
int gh_port_set_mtu(uint16_t port, uint16_t mtu);
int gh_port_promiscuous(uint16_t port);
int gh_port_allmulticast(uint16_t port);
int gh_port_link(uint16_t port, struct gh_link *link);
int gh_port_stats(uint16_t port, struct gh_port_stats *stats);

uint16_t gh_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);
uint16_t gh_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t n);

#endif
