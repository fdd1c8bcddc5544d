/* See fib.h. */
#include <errno.h>

#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_memory.h>
#include <rte_version.h>

#include "fib.h"

/* 24.11 gave IPv6 addresses a type; they are the same 16 bytes. */
#if RTE_VERSION >= RTE_VERSION_NUM(24, 11, 0, 0)
#define IPV6(bytes) ((struct rte_ipv6_addr *)(uintptr_t)(bytes))
#define IPV6_BULK(bytes) IPV6(bytes)
#else
#define IPV6(bytes) (bytes)
#define IPV6_BULK(bytes) ((uint8_t (*)[RTE_FIB6_IPV6_ADDR_SIZE])(uintptr_t)(bytes))
#endif

struct rte_fib *gh_fib4_create(const char *name, uint32_t routes, uint32_t groups)
{
	struct rte_fib_conf conf = {
		.type = RTE_FIB_DIR24_8,
		.default_nh = GH_FIB_NONE,
		.max_routes = (int)routes,
		.dir24_8 = { .nh_sz = RTE_FIB_DIR24_8_4B, .num_tbl8 = groups },
	};

	return rte_fib_create(name, SOCKET_ID_ANY, &conf);
}

struct rte_fib6 *gh_fib6_create(const char *name, uint32_t routes, uint32_t groups)
{
	struct rte_fib6_conf conf = {
		.type = RTE_FIB6_TRIE,
		.default_nh = GH_FIB_NONE,
		.max_routes = (int)routes,
		.trie = { .nh_sz = RTE_FIB6_TRIE_4B, .num_tbl8 = groups },
	};

	return rte_fib6_create(name, SOCKET_ID_ANY, &conf);
}

void gh_fib4_free(struct rte_fib *fib)
{
	rte_fib_free(fib);
}

void gh_fib6_free(struct rte_fib6 *fib)
{
	rte_fib6_free(fib);
}

int gh_fib4_add(struct rte_fib *fib, uint32_t address, uint8_t len, uint32_t hop)
{
	return -rte_fib_add(fib, address, len, hop);
}

int gh_fib4_delete(struct rte_fib *fib, uint32_t address, uint8_t len)
{
	return -rte_fib_delete(fib, address, len);
}

int gh_fib6_add(struct rte_fib6 *fib, const uint8_t *address, uint8_t len, uint32_t hop)
{
	return -rte_fib6_add(fib, IPV6(address), len, hop);
}

int gh_fib6_delete(struct rte_fib6 *fib, const uint8_t *address, uint8_t len)
{
	return -rte_fib6_delete(fib, IPV6(address), len);
}

int gh_fib4_use_avx512(struct rte_fib *fib, int yes)
{
	return -rte_fib_select_lookup(fib, yes ? RTE_FIB_LOOKUP_DIR24_8_VECTOR_AVX512 :
						 RTE_FIB_LOOKUP_DIR24_8_SCALAR_MACRO);
}

int gh_fib6_use_avx512(struct rte_fib6 *fib, int yes)
{
	return -rte_fib6_select_lookup(fib, yes ? RTE_FIB6_LOOKUP_TRIE_VECTOR_AVX512 :
						  RTE_FIB6_LOOKUP_TRIE_SCALAR);
}

void gh_fib4_lookup(struct rte_fib *fib, const uint32_t *addresses, uint64_t *hops, uint32_t n)
{
	/* It does not write to them, whatever its type says. */
	rte_fib_lookup_bulk(fib, (uint32_t *)(uintptr_t)addresses, hops, (int)n);
}

void gh_fib6_lookup(struct rte_fib6 *fib, const uint8_t *addresses, uint64_t *hops, uint32_t n)
{
	/* It does not write to them, whatever its type says. */
	rte_fib6_lookup_bulk(fib, IPV6_BULK(addresses), hops, (int)n);
}
