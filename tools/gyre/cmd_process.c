/* cmd_process.c - `gyre process`: which processes run on Gyre, and one of them in short.
 *
 * Both ask for fresh numbers, which costs each process one wake-up of one thread. A list does not
 * wait for one that hangs: after 20 ms it takes what was published last, and says of when that is.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "control.h"
#include "output.h"
#include "snapshot.h"
#include "target.h"
#include "words.h"

#define LIST_WAIT_MS 20

static const struct gy_out_column columns[] = {
	{"pid", "PID", OUT_COUNT},
	{"comm", "COMM", OUT_TEXT},
	{"version", "GYRE", OUT_TEXT},
	{"uptime_ns", "UP", OUT_NS},
	{"heap_alloc", "ALLOCATED", OUT_BYTES},
	{"heap_sys", "HEAP", OUT_BYTES},
	{"heap_released", "GIVEN BACK", OUT_BYTES},
	{"rss_bytes", "RSS", OUT_BYTES},
	{"threads", "THREADS", OUT_COUNT},
	{"age_ns", "AS OF", OUT_NS},
	{"note", "", OUT_TEXT},
};

static void rss_out(int pid)
{
	uint64_t rss_kib;

	if (gy_status_u64(pid, "VmRSS:", &rss_kib))
		gy_out_null("rss_bytes", "resident", "-");
	else
		gy_out_u64("rss_bytes", "resident", OUT_BYTES, rss_kib * 1024);
}

static void pid_out(int pid)
{
	char text[16];

	/* An id is a name, not a quantity: no thousands separators. */
	snprintf(text, sizeof(text), "%d", pid);
	if (gy_out_is_json())
		gy_out_u64("pid", NULL, OUT_COUNT, (uint64_t)pid);
	else
		gy_out_text("pid", "pid", text);
}

static int list_row(struct gy_target *target, void *context)
{
	struct gy_snapshot snapshot;
	int error = target->control ? gy_control_read(target->control, LIST_WAIT_MS, &snapshot)
				    : target->control_error;

	(void)context;
	if (error == -ESRCH)
		return 0;
	gy_out_row();
	pid_out(target->pid);
	gy_out_text("comm", NULL, target->comm);
	rss_out(target->pid);
	if (error) {
		gy_out_text("note", NULL, gy_control_error_brief(error));
		return 0;
	}
	gy_out_text("version", NULL, snapshot.header.version);
	gy_out_u64("uptime_ns", NULL, OUT_NS, gy_snapshot_uptime_ns(&snapshot));
	gy_out_u64("heap_alloc", NULL, OUT_BYTES, snapshot.header.totals.heap_alloc);
	gy_out_u64("heap_sys", NULL, OUT_BYTES, snapshot.header.totals.heap_sys);
	gy_out_u64("heap_released", NULL, OUT_BYTES, snapshot.header.totals.heap_released);
	gy_out_u64("threads", NULL, OUT_COUNT, snapshot.header.totals.threads);
	if (snapshot.fresh && !gy_out_is_json())
		gy_out_text("age_ns", NULL, "now");
	else
		gy_out_u64("age_ns", NULL, OUT_NS, snapshot.age_ns);
	gy_snapshot_free(&snapshot);
	return 0;
}

static int cmd_list(int argc, char **argv)
{
	int refused;

	if (gy_words_end(argc, argv))
		return -1;
	gy_out_list(NULL, NULL, columns, sizeof(columns) / sizeof(columns[0]));
	gy_out_list_narrow("version threads age_ns heap_released uptime_ns");
	refused = gy_target_each(list_row, NULL);
	gy_out_list_end();
	if (refused > 0)
		gy_out_info("%d process%s could not be looked into; it takes the owner or "
			    "CAP_SYS_PTRACE",
			    refused, refused == 1 ? "" : "es");
	return 0;
}

static void show_images(const struct gy_target *target)
{
	json_t *images = json_array();

	for (size_t i = 0; i < target->image_count; i++) {
		json_array_append_new(images, gy_out_json_text(target->images[i].name));
		if (!gy_out_is_json())
			gy_out_text("images", i ? "" : "library", target->images[i].name);
	}
	gy_out_json("images", images);
	if (!target->image_count && !gy_out_is_json())
		gy_out_text("images", "library", "no file with Gyre's probes is mapped");
}

static int show_control(struct gy_target *target)
{
	struct gy_snapshot snapshot;
	int error = target->control
			    ? gy_control_read(target->control, GY_SNAPSHOT_WAIT_MS, &snapshot)
			    : target->control_error;

	if (error) {
		if (target->control)
			return gy_out_error("process %d (%s): %s", target->pid, target->comm,
					    gy_control_error(error));
		gy_out_null("control", "control page", gy_control_error(error));
		return 0;
	}
	gy_out_text("version", "Gyre", snapshot.header.version);
	gy_out_u64("uptime_ns", "up", OUT_NS, gy_snapshot_uptime_ns(&snapshot));
	gy_out_text("control", "control page", gy_control_way_name(target->control));
	gy_out_u64("control_abi", "its ABI", OUT_COUNT, snapshot.header.abi);
	gy_snapshot_age_out(&snapshot, target->control);
	gy_out_u64("heap_alloc", "allocated", OUT_BYTES, snapshot.header.totals.heap_alloc);
	gy_out_u64("heap_sys", "heap", OUT_BYTES, snapshot.header.totals.heap_sys);
	gy_out_u64("heap_released", "given back", OUT_BYTES, snapshot.header.totals.heap_released);
	gy_out_u64("threads", "threads", OUT_COUNT, snapshot.header.totals.threads);
	gy_out_bool("background", "background thread", snapshot.header.background_tid != 0);
	if (snapshot.header.background_tid)
		gy_out_note("tid %u", snapshot.header.background_tid);
	gy_out_u64("sample_bytes", "sampled", OUT_BYTES, snapshot.header.sample_bytes);
	gy_out_note(snapshot.header.sample_bytes ? "between samples, in the mean" : "sampler off");
	gy_snapshot_free(&snapshot);
	return 0;
}

static int show(struct gy_target *target, void *context)
{
	int error;

	(void)context;
	gy_out_begin(NULL, NULL);
	pid_out(target->pid);
	gy_out_text("comm", "comm", target->comm);
	gy_out_text("exe", "program", target->exe);
	show_images(target);
	rss_out(target->pid);
	error = show_control(target);
	gy_out_end();
	return error;
}

static int cmd_show(int argc, char **argv)
{
	struct gy_targets targets;
	int error;

	if (!argc)
		return cmd_list(argc, argv);
	if (gy_targets_arguments(&argc, &argv, &targets, TARGET_GYRE))
		return -1;
	error = gy_words_end(argc, argv);
	if (!error)
		error = gy_targets_each(&targets, show, NULL);
	gy_targets_close(&targets);
	return error;
}

static int cmd_process_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (gy_out_is_json())
		return 0;
	fprintf(stderr, "Usage: gyre process { show | list } [PROC...]\n"
			"       gyre process help\n"
			"\n"
			"       " GY_HELP_PROC "\n"
			"       " GY_HELP_OPTIONS "\n");
	return 0;
}

static const struct gy_command commands[] = {
	{"list", cmd_show},
	{"show", cmd_show},
	{"help", cmd_process_help},
	{NULL, NULL},
};

int gy_cmd_process(int argc, char **argv)
{
	return gy_words_run(commands, "process", argc, argv, cmd_process_help);
}
