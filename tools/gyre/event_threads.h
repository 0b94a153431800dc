/* event_threads.h - the threads whose batches come: their numbers, their names, their order.
 *
 * A batch names its thread as the process itself does; in a container that is another number than
 * ours. Where the process's pid namespace is ours nothing is looked up; else the NSpid lines of
 * /proc/PID/task tell, and are read again when a thread is met that they did not have.
 *
 * ETH-1  The numbers of a thread's batches say what did not arrive (EVENT-2). A thread that ends
 *        (reason 2) takes its count with it: the next of its number begins anew.
 */
#ifndef GYRE_TOOLS_EVENT_THREADS_H
#define GYRE_TOOLS_EVENT_THREADS_H

#include <stddef.h>
#include <stdint.h>

#include <linux/types.h>

#include "events.h"
#include "target.h"

struct gy_event_threads;

enum gy_event_order { EVENT_ORDER_GOOD, EVENT_ORDER_GAP, EVENT_ORDER_BACK };

struct gy_event_threads *gy_event_threads_open(const struct gy_target *targets, size_t count);
void gy_event_threads_close(struct gy_event_threads *threads);
/* gy_event_threads_order - note a batch. @gap: records that are missing, or came twice. */
enum gy_event_order gy_event_threads_order(struct gy_event_threads *threads,
					   const struct gyre_batch *batch, uint64_t *gap);
/* gy_event_threads_inside - our number of a thread as its process numbers it. */
uint32_t gy_event_threads_inside(const struct gy_event_threads *threads, uint32_t outside);
/* gy_event_threads_outside - a batch's thread by our number, and its name. */
uint32_t gy_event_threads_outside(struct gy_event_threads *threads, const struct gyre_batch *batch,
				  const char **comm);

#endif
