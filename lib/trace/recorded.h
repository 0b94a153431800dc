/* recorded.h - malloc and free of small blocks, while every event is recorded.
 *
 * With the gate closed (heap/gate.h) each operation costs its block, a time stamp and a record, and
 * little may come on top. So the simple cases are one function each, in which the pieces of the
 * fast path and the append of the record (event_buffer.h) are inlined; whatever is not simple, they
 * jump to.
 *
 * RECORDED-1  They lie in gyre_fast_text and call nothing (FAST-1).
 * RECORDED-2  A block is recorded after it was taken, and before it is given back: so of one
 *             address births and ends alternate, also across threads. What misuse will be said of
 *             is found out before the record's slot is claimed.
 * RECORDED-3  Reading the processor's counter waits for every load before it (measured:
 *             kernel-notes/event_batches.md), and a block that is freed is often cold. So it is
 *             read as seldom as the tracer allows (RING-10), and where it is read, free asks
 *             for the block's line first (nobody waits for a prefetch), reads the counter, and then
 *             looks at the block; malloc pops its block while that may still be under way, and
 *             reads the counter last.
 */
#ifndef GY_TRACE_RECORDED_H
#define GY_TRACE_RECORDED_H

#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* gy_heap_hooks.alloc_recorded and free_recorded. */
void *gy_recorded_alloc(unsigned class_index, size_t bytes, uintptr_t caller_pc);
void gy_recorded_free(void *block, uintptr_t caller_pc);

#pragma GCC visibility pop

#endif
