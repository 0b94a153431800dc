/* leak_every.h - every block of some size classes, followed from birth to death for a while: the
 * stacks of those that stay.
 *
 * The sampled profile is slow to show who takes small blocks at a low rate. So once a watch has
 * told which size classes grow, every event of these is listened to (event_session.h): each birth
 * with its stack, each death takes its birth away. What was born in the first half of the time and
 * is still there at its end is told, by stack.
 *
 * EVERY-1  A death may arrive before its birth, if another thread frees: it waits for it. Times
 *          tell which birth at an address a death belongs to.
 * EVERY-2  At most EVERY_BLOCKS blocks are followed at a time; further ones are counted.
 */
#ifndef GYRE_TOOLS_LEAK_EVERY_H
#define GYRE_TOOLS_LEAK_EVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <jansson.h>

#include "target.h"

struct gy_leak_every;

/* gy_leak_every_run - follow blocks of these sizes for so long. NULL with the error told.
 * @sizes  of classes; 0: large blocks */
struct gy_leak_every *gy_leak_every_run(struct gy_target *target, const uint64_t *sizes,
					size_t size_count, uint64_t duration_ns);
void gy_leak_every_close(struct gy_leak_every *every);
void gy_leak_every_text(struct gy_leak_every *every, uint64_t rows);
json_t *gy_leak_every_json(struct gy_leak_every *every, uint64_t rows);

#endif
