/* semaphore.h - counting, for the other primitives too. See semaphore.c. */
#ifndef GY_SYNC_SEMAPHORE_H
#define GY_SYNC_SEMAPHORE_H

#include "sync/wait.h"

#include <gyre/sync.h>

/* 0, -EAGAIN, -ETIMEDOUT */
int gy_semaphore_acquire(struct gyre_semaphore *semaphore, uint32_t count, int64_t timeout_ns);
void gy_semaphore_release(struct gyre_semaphore *semaphore, uint32_t count);

#endif
