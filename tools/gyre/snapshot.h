/* snapshot.h - what commands say alike about a snapshot of a control page. */
#ifndef GYRE_TOOLS_SNAPSHOT_H
#define GYRE_TOOLS_SNAPSHOT_H

#include "control.h"
#include "target.h"

/* How long a command waits for an answer before it takes what was published last. */
#define GY_SNAPSHOT_WAIT_MS 500

uint64_t gy_snapshot_uptime_ns(const struct gy_snapshot *snapshot);
/* gy_snapshot_age_out - the members "fresh" and "age_ns"; in text the line "as of". */
void gy_snapshot_age_out(const struct gy_snapshot *snapshot, const struct gy_control *control);
/* gy_snapshot_age_text - "now", or how old and why. */
void gy_snapshot_age_text(const struct gy_snapshot *snapshot, const struct gy_control *control,
			  char *text, size_t bytes);
/* gy_snapshot_head_out - begin an object: which process, how long it runs, how old this is. */
void gy_snapshot_head_out(const struct gy_target *target, const struct gy_snapshot *snapshot);

#endif
