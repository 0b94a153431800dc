/* cmd_heap.c - `gyre heap show`: where a heap's memory is, from the control page and the kernel.
 *
 *      what the program has           allocated
 *      what that costs                spans: caches, free blocks, slack = fragmentation
 *      what is kept beside it         idle pages, metadata
 *      what the kernel has back       released
 *      how it is mapped               huge pages, as the heap and as the kernel have them
 *
 * The heap's own numbers are one snapshot; the kernel's (smaps) are read just after it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "heap_profile.h"
#include "output.h"
#include "snapshot.h"
#include "target.h"
#include "words.h"

#define CLASSES_SHOWN 10

/* ---------------------------------------------------------------- the kernel's view */

struct kernel_view {
	uint64_t rss_bytes, huge_bytes, swap_bytes;
	bool known;
};

/* Sum smaps over the heap's range. The lock it takes is the reader's side of mmap_lock: page faults
 * go on, mmap waits (about a millisecond for each GiB mapped by small pages). */
static struct kernel_view kernel_view(int pid, uint64_t base, uint64_t bytes)
{
	struct kernel_view view = {0};
	char path[64], *line = NULL;
	size_t capacity = 0;
	bool inside = false;
	FILE *smaps;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	smaps = fopen(path, "re");
	while (smaps && getline(&line, &capacity, smaps) > 0) {
		uint64_t start, end, kib;
		char field[32];

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2) {
			inside = start >= base && end - base <= bytes;
			view.known = true;
		} else if (inside && sscanf(line, "%31[^:]: %" SCNu64 " kB", field, &kib) == 2) {
			view.rss_bytes += strcmp(field, "Rss") ? 0 : kib * 1024;
			view.huge_bytes += strcmp(field, "AnonHugePages") ? 0 : kib * 1024;
			view.swap_bytes += strcmp(field, "Swap") ? 0 : kib * 1024;
		}
	}
	free(line);
	if (smaps)
		fclose(smaps);
	return view;
}

/* ---------------------------------------------------------------- totals */

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static uint64_t released_in_spans(const struct gy_snapshot *snapshot)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < snapshot->class_count; i++)
		bytes += snapshot->classes[i].released_bytes;
	return bytes;
}

static void show_memory(const struct gy_snapshot *snapshot, const struct kernel_view *kernel)
{
	const struct gyre_control_totals *totals = &snapshot->header.totals;
	uint64_t backed = minus(totals->heap_sys + totals->metadata_bytes, totals->heap_released);
	uint64_t collected = snapshot->header.gc.heap_span_bytes;
	char mallocs[GY_OUT_TEXT], live[GY_OUT_TEXT], large[GY_OUT_TEXT];

	gy_out_begin("memory", "Memory");
	gy_out_u64("heap_alloc", "allocated", OUT_BYTES, totals->heap_alloc);
	gy_out_count(live, minus(totals->mallocs, totals->frees));
	gy_out_count(mallocs, totals->mallocs);
	gy_out_note("%s blocks; %s allocated since start", live, mallocs);
	gy_out_u64("large_bytes", "  of that large", OUT_BYTES, totals->large_bytes);
	gy_out_note("%s blocks above the largest size class",
		    gy_out_count(large, totals->large_blocks));
	gy_out_u64("collected_bytes", collected ? "collected" : NULL, OUT_BYTES, collected);
	if (collected)
		gy_out_note("spans of objects that nobody frees; see gyre gc show");
	gy_out_u64("heap_inuse", "in spans", OUT_BYTES, totals->heap_inuse);
	gy_out_u64("heap_idle", "idle", OUT_BYTES, totals->heap_idle);
	gy_out_u64("heap_sys", "heap", OUT_BYTES, totals->heap_sys);
	gy_out_note("spans and idle");
	gy_out_u64("metadata_bytes", "metadata", OUT_BYTES, totals->metadata_bytes);
	gy_out_u64("heap_released", "given back", OUT_BYTES, totals->heap_released);
	gy_out_note("or not touched yet");
	gy_out_u64("backed_bytes", "kept", OUT_BYTES, backed);
	if (totals->heap_alloc && !collected)
		gy_out_note("%.2f times what is allocated; with metadata",
			    (double)backed / (double)totals->heap_alloc);
	if (kernel->known) {
		gy_out_u64("kernel_rss_bytes", "resident", OUT_BYTES, kernel->rss_bytes);
		gy_out_note("of the heap, says the kernel");
		gy_out_u64("kernel_swap_bytes", kernel->swap_bytes ? "swapped" : NULL, OUT_BYTES,
			   kernel->swap_bytes);
	} else {
		gy_out_null("kernel_rss_bytes", "resident", "smaps may not be read");
		gy_out_null("kernel_swap_bytes", NULL, "");
	}
	if (gy_out_is_json()) {
		gy_out_u64("heap_reserved", NULL, OUT_BYTES, totals->heap_reserved);
		gy_out_u64("mallocs", NULL, OUT_COUNT, totals->mallocs);
		gy_out_u64("frees", NULL, OUT_COUNT, totals->frees);
		gy_out_u64("large_blocks", NULL, OUT_COUNT, totals->large_blocks);
		gy_out_u64("large_mallocs", NULL, OUT_COUNT, totals->large_mallocs);
		gy_out_u64("growths", NULL, OUT_COUNT, totals->growths);
	}
	gy_out_end();
}

/* In spans and in no block: where is it? What neither cache nor list nor kernel has is slack: the
 * tails of spans and the rounding up of large blocks. */
static void show_fragmentation(const struct gy_snapshot *snapshot)
{
	const struct gyre_control_totals *totals = &snapshot->header.totals;
	/* What is inside spans of collected objects is the collector's to tell. */
	uint64_t lost =
		minus(totals->heap_inuse, totals->heap_alloc + snapshot->header.gc.heap_span_bytes);
	uint64_t released = released_in_spans(snapshot);
	uint64_t slack = minus(lost, totals->thread_cache_bytes + totals->central_bytes);

	gy_out_begin("fragmentation", "Fragmentation");
	gy_out_u64("unused_bytes", "in spans, in no block", OUT_BYTES, lost);
	if (totals->heap_inuse)
		gy_out_note("%.1f %% of spans", 100 * (double)lost / (double)totals->heap_inuse);
	gy_out_u64("thread_cache_bytes", "  in thread caches", OUT_BYTES,
		   totals->thread_cache_bytes);
	gy_out_note("%" PRIu64 " thread%s; %" PRIu64 " idle caches taken back", totals->threads,
		    totals->threads == 1 ? "" : "s", totals->caches_taken);
	gy_out_u64("central_bytes", "  in central lists", OUT_BYTES, totals->central_bytes);
	gy_out_u64("slack_bytes", "  slack", OUT_BYTES, slack);
	gy_out_u64("released_in_spans_bytes", "given back of these", OUT_BYTES, released);
	gy_out_u64("unused_backed_bytes", "still costs", OUT_BYTES, minus(lost, released));
	if (totals->heap_inuse)
		gy_out_note("%.1f %% of spans",
			    100 * (double)minus(lost, released) / (double)totals->heap_inuse);
	if (gy_out_is_json()) {
		gy_out_percent("unused_percent", NULL, (double)lost, (double)totals->heap_inuse);
		gy_out_u64("threads", NULL, OUT_COUNT, totals->threads);
		gy_out_u64("caches_taken", NULL, OUT_COUNT, totals->caches_taken);
	}
	gy_out_end();
}

static void show_huge_pages(const struct gy_snapshot *snapshot, const struct kernel_view *kernel)
{
	const struct gyre_control_totals *totals = &snapshot->header.totals;

	gy_out_begin("huge_pages", "Huge pages (2 MiB)");
	gy_out_u64("total", "made usable", OUT_COUNT, totals->hugepages);
	gy_out_u64("intact", "never broken up", OUT_COUNT, totals->hugepages_intact);
	if (totals->hugepages)
		gy_out_note("%.1f %%",
			    100 * (double)totals->hugepages_intact / (double)totals->hugepages);
	gy_out_u64("free", "wholly free", OUT_COUNT, totals->hugepages_free);
	gy_out_u64("released", "wholly given back", OUT_COUNT, totals->hugepages_released);
	if (!kernel->known) {
		gy_out_null("kernel_huge_bytes", "mapped huge", "smaps may not be read");
	} else {
		gy_out_u64("kernel_huge_bytes", "mapped huge", OUT_BYTES, kernel->huge_bytes);
		if (kernel->rss_bytes)
			gy_out_note("%.1f %% of what is resident: the coverage",
				    100 * (double)kernel->huge_bytes / (double)kernel->rss_bytes);
	}
	if (gy_out_is_json())
		gy_out_percent("coverage_percent", NULL, (double)kernel->huge_bytes,
			       (double)kernel->rss_bytes);
	gy_out_end();
}

static void show_rest(const struct gy_snapshot *snapshot)
{
	const struct gyre_control_totals *totals = &snapshot->header.totals;

	gy_out_begin("release", "Given back to the kernel");
	gy_out_u64("released_total", "since start", OUT_BYTES, totals->released_total);
	gy_out_u64("release_calls", "system calls", OUT_COUNT, totals->release_calls);
	gy_out_u64("background_runs", "background wake-ups", OUT_COUNT, totals->background_runs);
	if (!snapshot->header.background_tid)
		gy_out_note("no background thread runs");
	gy_out_end();

	gy_out_begin("sampler", "Sampler");
	gy_out_u64("sample_bytes", "one in", OUT_BYTES, snapshot->header.sample_bytes);
	if (!snapshot->header.sample_bytes)
		gy_out_note("off");
	gy_out_u64("samples", "samples", OUT_COUNT, totals->samples);
	gy_out_u64("samples_live", "of live blocks", OUT_COUNT, totals->samples_live);
	gy_out_u64("samples_lost", "lost", OUT_COUNT, totals->samples_lost);
	gy_out_end();

	gy_out_begin("trouble", "Trouble");
	gy_out_u64("ooms", "failed allocations", OUT_COUNT, totals->ooms);
	gy_out_u64("misuses", "misuse carried on from", OUT_COUNT, totals->misuses);
	if (totals->memory_limit || gy_out_is_json())
		gy_out_u64("memory_limit", "memory limit", OUT_BYTES, totals->memory_limit);
	else
		gy_out_null("memory_limit", "memory limit", "none");
	gy_out_end();
}

/* ---------------------------------------------------------------- classes */

static const struct gy_out_column class_columns[] = {
	{"object_bytes", "SIZE", OUT_COUNT},
	{"spans", "SPANS", OUT_COUNT},
	{"span_bytes_total", "IN SPANS", OUT_BYTES},
	{"live", "LIVE", OUT_COUNT},
	{"live_bytes", "ALLOCATED", OUT_BYTES},
	{"used_percent", "USED", OUT_PERCENT},
	{"thread_cached", "THREADS", OUT_COUNT},
	{"central_cached", "CENTRAL", OUT_COUNT},
	{"span_free", "FREE", OUT_COUNT},
	{"released_bytes", "GIVEN BACK", OUT_BYTES},
	{"mallocs", "MALLOCS", OUT_COUNT},
	{"frees", "FREES", OUT_COUNT},
};

static uint64_t class_held(const struct gyre_control_class *class)
{
	return class->spans * class->span_bytes;
}

static int class_by_held(const void *a, const void *b)
{
	const struct gyre_control_class *const *left = a, *const *right = b;
	uint64_t held_left = class_held(*left), held_right = class_held(*right);

	return held_left < held_right ? 1 : held_left > held_right ? -1 : 0;
}

static int class_by_size(const void *a, const void *b)
{
	const struct gyre_control_class *const *left = a, *const *right = b;

	return (*left)->object_bytes < (*right)->object_bytes
		       ? -1
		       : (*left)->object_bytes > (*right)->object_bytes;
}

static void show_class(const struct gyre_control_class *class)
{
	gy_out_row();
	gy_out_u64("object_bytes", NULL, OUT_COUNT, class->object_bytes);
	gy_out_u64("spans", NULL, OUT_COUNT, class->spans);
	gy_out_u64("span_bytes_total", NULL, OUT_BYTES, class_held(class));
	gy_out_u64("live", NULL, OUT_COUNT, class->live);
	gy_out_u64("live_bytes", NULL, OUT_BYTES, class->live * class->object_bytes);
	gy_out_percent("used_percent", NULL, (double)class->live * class->object_bytes,
		       (double)class_held(class));
	gy_out_u64("thread_cached", NULL, OUT_COUNT, class->thread_cached);
	gy_out_u64("central_cached", NULL, OUT_COUNT, class->central_cached);
	gy_out_u64("span_free", NULL, OUT_COUNT, class->span_free);
	gy_out_u64("released_bytes", NULL, OUT_BYTES, class->released_bytes);
	gy_out_u64("mallocs", NULL, OUT_COUNT, class->mallocs);
	gy_out_u64("frees", NULL, OUT_COUNT, class->frees);
	if (gy_out_is_json()) {
		gy_out_u64("span_bytes", NULL, OUT_BYTES, class->span_bytes);
		gy_out_u64("span_objects", NULL, OUT_COUNT, class->span_objects);
		gy_out_u64("refills", NULL, OUT_COUNT, class->refills);
		gy_out_u64("flushes", NULL, OUT_COUNT, class->flushes);
	}
}

/* In text the classes in use: all, or those that hold most; by size either way. In JSON all. */
static void show_classes(const struct gy_snapshot *snapshot, bool all)
{
	const struct gyre_control_class **shown;
	size_t used = 0, count;
	char title[96];

	shown = calloc(snapshot->class_count + 1, sizeof(*shown));
	if (!shown)
		return;
	for (size_t i = 0; i < snapshot->class_count; i++)
		if (gy_out_is_json() || snapshot->classes[i].spans || snapshot->classes[i].mallocs)
			shown[used++] = &snapshot->classes[i];
	count = used;
	if (!all && !gy_out_is_json() && used > CLASSES_SHOWN) {
		count = CLASSES_SHOWN;
		qsort(shown, used, sizeof(*shown), class_by_held);
		snprintf(title, sizeof(title),
			 "Size classes: the %zu of %zu that hold most "
			 "('classes' shows all)",
			 count, used);
	} else {
		snprintf(title, sizeof(title), "Size classes");
	}
	qsort(shown, count, sizeof(*shown), class_by_size);
	gy_out_list("classes", title, class_columns,
		    sizeof(class_columns) / sizeof(class_columns[0]));
	gy_out_list_narrow("central_cached thread_cached span_free frees spans");
	for (size_t i = 0; i < count; i++)
		show_class(shown[i]);
	gy_out_list_end();
	free(shown);
}

static void show_options(const struct gy_snapshot *snapshot)
{
	gy_out_begin("options", "Options");
	for (size_t i = 0; i < snapshot->option_count; i++)
		gy_out_text(snapshot->options[i].name, snapshot->options[i].name,
			    snapshot->options[i].value);
	gy_out_end();
}

/* ---------------------------------------------------------------- commands */

struct parts {
	bool classes, options;
};

static int show_target(struct gy_target *target, void *context)
{
	const struct parts *parts = context;
	struct gy_snapshot snapshot;
	struct kernel_view kernel;
	int error = gy_control_read(target->control, GY_SNAPSHOT_WAIT_MS, &snapshot);

	if (error)
		return gy_out_error("process %d (%s): %s", target->pid, target->comm,
				    gy_control_error(error));
	kernel = kernel_view(target->pid, snapshot.header.heap_base,
			     snapshot.header.heap_reserved_bytes);
	gy_snapshot_head_out(target, &snapshot);
	show_memory(&snapshot, &kernel);
	show_fragmentation(&snapshot);
	show_huge_pages(&snapshot, &kernel);
	show_rest(&snapshot);
	show_classes(&snapshot, parts->classes);
	if (parts->options)
		show_options(&snapshot);
	gy_out_end();
	gy_snapshot_free(&snapshot);
	return 0;
}

static int cmd_show(int argc, char **argv)
{
	struct parts parts = {false, false};
	struct gy_targets targets;
	int error = 0;

	if (gy_targets_arguments(&argc, &argv, &targets, TARGET_CONTROL))
		return -1;
	for (; argc && !error; argc--, argv++) {
		if (gy_word_is(*argv, "classes"))
			parts.classes = true;
		else if (gy_word_is(*argv, "options"))
			parts.options = true;
		else
			error = gy_out_error("expected 'classes' or 'options', got: '%s'?", *argv);
	}
	if (!error)
		error = gy_targets_each(&targets, show_target, &parts);
	gy_targets_close(&targets);
	return error;
}

static int cmd_heap_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (gy_out_is_json())
		return 0;
	fprintf(stderr, "Usage: gyre heap show PROC... [classes] [options]\n" GY_HEAP_PROFILE_HELP
			"       gyre heap help\n"
			"\n"
			"       " GY_HELP_PROC "\n"
			"       " GY_HELP_OPTIONS "\n");
	return 0;
}

static const struct gy_command commands[] = {
	{"show", cmd_show},
	{"profile", gy_heap_profile},
	{"flame", gy_heap_flame},
	{"help", cmd_heap_help},
	{NULL, NULL},
};

int gy_cmd_heap(int argc, char **argv)
{
	return gy_words_run(commands, "heap", argc, argv, cmd_heap_help);
}
