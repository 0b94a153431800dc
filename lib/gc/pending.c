/* Weak stand-ins while the collector is put together. */
#include <stddef.h>
#define WEAK __attribute__((weak, visibility("hidden")))
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#pragma GCC diagnostic ignored "-Wbuiltin-declaration-mismatch"
WEAK void *gy_cleanup_add(void) { return NULL; }
WEAK void *gy_finalise_count(void) { return NULL; }
WEAK void *gy_finalise_fork_child(void) { return NULL; }
WEAK void *gy_finalise_fork_parent(void) { return NULL; }
WEAK void *gy_finalise_fork_prepare(void) { return NULL; }
WEAK void *gy_finalise_init(void) { return NULL; }
WEAK void *gy_finalise_process(void) { return NULL; }
WEAK void *gy_finalise_queue_run(void) { return NULL; }
WEAK void *gy_finalise_scan_roots(void) { return NULL; }
WEAK void *gy_finalise_wait(void) { return NULL; }
WEAK void *gy_finaliser_set(void) { return NULL; }
WEAK void *gy_handle_free(void) { return NULL; }
WEAK void *gy_handle_get(void) { return NULL; }
WEAK void *gy_handle_new(void) { return NULL; }
WEAK void *gy_handle_set(void) { return NULL; }
WEAK void *gy_verify(void) { return NULL; }
WEAK void *gy_weak_cleared_count(void) { return NULL; }
WEAK void *gy_weak_free(void) { return NULL; }
WEAK void *gy_weak_get(void) { return NULL; }
WEAK void *gy_weak_new(void) { return NULL; }
