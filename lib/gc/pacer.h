/* pacer.h - when a cycle starts, and how much of its work allocating threads do. See pacer.c. */
#ifndef GY_GC_PACER_H
#define GY_GC_PACER_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>

struct gy_pace {
	uint64_t live_bytes;	/* what the last cycle left */
	uint64_t goal_bytes;	/* where the heap should be when the next cycle has marked */
	uint64_t trigger_bytes; /* where it starts */
	uint64_t limit_bytes;	/* memory limit in force; 0: none */
	uint64_t inuse_bytes;	/* now */
	int64_t percent;	/* below 0: no cycle by itself */
	bool limited;		/* the goal is the limit's doing */
};

void gy_pacer_init(void);
/* Percent below 0: no cycle by itself. Return the old value. */
int gy_pacer_set_percent(int percent);
uint64_t gy_pacer_set_limit(uint64_t bytes);
/* Has gy_pacer_init been? Before it, nothing needs to be set: it reads the options. */
bool gy_pacer_is_ready(void);
/* The goal, anew: an option has changed that it follows from. */
void gy_pacer_refresh(void);
/* Is a cycle due? A few loads. */
bool gy_pacer_is_due(bool *limited);
/* Marking begins; its end: `marked_bytes` were found alive, `scanned_bytes` were the work. */
void gy_pacer_began(void);
void gy_pacer_ended(uint64_t marked_bytes, uint64_t scanned_bytes, uint64_t duration_ns);
/* The world did not stop, and was held up for so long: PACE-4. */
void gy_pacer_failed(uint64_t duration_ns);
/* Workers scanned that much: assists owe less. */
void gy_pacer_worked(size_t scanned_bytes);
/* Bytes that a thread must scan now, for taking `bytes` of memory; 0: nothing. `credit` is the
 * thread's. */
size_t gy_pacer_owes(int64_t *credit, size_t bytes);
/* The heap is past its goal, although everybody helps. */
bool gy_pacer_is_overrun(void);
void gy_pacer_read(struct gy_pace *pace);

void gy_pacer_fork_prepare(void);
void gy_pacer_fork_parent(void);
void gy_pacer_fork_child(void);

#endif
