/* snapshot.c - see snapshot.h. */
#include "snapshot.h"

#include <stdio.h>

#include "output.h"
#include "session.h"

uint64_t gy_snapshot_uptime_ns(const struct gy_snapshot *snapshot)
{
	uint64_t now = gy_monotonic_ns();

	return now > snapshot->header.start_ns ? now - snapshot->header.start_ns : 0;
}

void gy_snapshot_age_text(const struct gy_snapshot *snapshot, const struct gy_control *control,
			  char *text, size_t bytes)
{
	char age[GY_OUT_TEXT];

	gy_out_ns(age, snapshot->age_ns);
	if (snapshot->torn)
		snprintf(text, bytes, "as of %s ago, and torn: the process stopped while it wrote",
			 age);
	else if (snapshot->fresh)
		snprintf(text, bytes, "as of now");
	else if (!gy_control_may_ask(control))
		snprintf(text, bytes, "as of %s ago: it could not be asked", age);
	else
		snprintf(text, bytes, "as of %s ago: the process did not answer%s", age,
			 snapshot->header.background_tid
				 ? ""
				 : " (no background thread; it answers when it next allocates)");
}

void gy_snapshot_age_out(const struct gy_snapshot *snapshot, const struct gy_control *control)
{
	char text[128];

	if (gy_out_is_json()) {
		gy_out_bool("fresh", NULL, snapshot->fresh && !snapshot->torn);
		gy_out_bool("torn", NULL, snapshot->torn);
		gy_out_u64("age_ns", NULL, OUT_NS, snapshot->age_ns);
		return;
	}
	gy_snapshot_age_text(snapshot, control, text, sizeof(text));
	gy_out_text("age_ns", "numbers", text);
}

void gy_snapshot_head_out(const struct gy_target *target, const struct gy_snapshot *snapshot)
{
	char age[128], up[GY_OUT_TEXT];

	gy_out_begin(NULL, NULL);
	if (gy_out_is_json()) {
		gy_out_u64("pid", NULL, OUT_COUNT, (uint64_t)target->pid);
		gy_out_text("comm", NULL, target->comm);
		gy_out_text("version", NULL, snapshot->header.version);
		gy_out_u64("uptime_ns", NULL, OUT_NS, gy_snapshot_uptime_ns(snapshot));
		gy_snapshot_age_out(snapshot, target->control);
		return;
	}
	gy_snapshot_age_text(snapshot, target->control, age, sizeof(age));
	gy_out_line("%s (pid %d) on Gyre %s, up %s, %s", target->comm, target->pid,
		    snapshot->header.version, gy_out_ns(up, gy_snapshot_uptime_ns(snapshot)), age);
}
