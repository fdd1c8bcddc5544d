/*
 * DPDK's own FIBs, which benches/fib compares ours with. Nothing else calls
 * these, and what nobody calls is not linked.
 */
#ifndef GH_FIB_H
#define GH_FIB_H

#include <stdint.h>

struct rte_fib;
struct rte_fib6;

/* Where no route leads. */
#define GH_FIB_NONE 0

/* Next hops of 4 bytes. NULL if there is no memory. */
struct rte_fib *gh_fib4_create(const char *name, uint32_t routes, uint32_t groups);
struct rte_fib6 *gh_fib6_create(const char *name, uint32_t routes, uint32_t groups);
void gh_fib4_free(struct rte_fib *fib);
void gh_fib6_free(struct rte_fib6 *fib);

/* Addresses in host byte order (IPv4), as bytes (IPv6). 0 or an errno. */
int gh_fib4_add(struct rte_fib *fib, uint32_t address, uint8_t len, uint32_t hop);
int gh_fib4_delete(struct rte_fib *fib, uint32_t address, uint8_t len);
int gh_fib6_add(struct rte_fib6 *fib, const uint8_t *address, uint8_t len, uint32_t hop);
int gh_fib6_delete(struct rte_fib6 *fib, const uint8_t *address, uint8_t len);

/* Chooses the code that looks up. 0, or an errno if this CPU cannot. */
int gh_fib4_use_avx512(struct rte_fib *fib, int yes);
int gh_fib6_use_avx512(struct rte_fib6 *fib, int yes);

void gh_fib4_lookup(struct rte_fib *fib, const uint32_t *addresses, uint64_t *hops, uint32_t n);
/* n times 16 bytes. */
void gh_fib6_lookup(struct rte_fib6 *fib, const uint8_t *addresses, uint64_t *hops, uint32_t n);

#endif
