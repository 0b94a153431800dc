/* pool.h - what the collector and the background thread call of pools. See pool.c. */
#ifndef GY_SYNC_POOL_H
#define GY_SYNC_POOL_H

#include <stdint.h>

struct gy_marker;

/* In a cycle's pause; once between it and termination, by the coordinator; at its end. */
void gy_sync_pool_cycle_paused(void);
void gy_sync_pool_scan_roots(struct gy_marker *marker);
void gy_sync_pool_cycle_ended(void);
/* Items grow older where no cycle comes (option sync_pool_age). Any thread. */
void gy_sync_pool_age(uint64_t now_ns);
void gy_sync_pool_fork_child(void);

#endif
