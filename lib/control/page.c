/* page.c - keeping the control page.
 *
 * A file in memory (os/memory_file.h). Who publishes a snapshot: the background thread, when asked
 * and about once a second while anything happens; in a process too small to have one, the slow
 * paths (a refill, a large block), when asked or when the last snapshot is old.
 *
 * PAGE-1  The page is made once per process. In a forked child it still is the parent's: the child
 *         forgets it (never writes to it again) and makes its own at its next slow path.
 * PAGE-2  Its size is sealed (MEMFILE-1).
 * PAGE-3  A child closes the descriptor only if it still is our file's (MEMFILE-2).
 * PAGE-4  Snapshots are written under the control lock, between two increments of snapshot_seq.
 * PAGE-5  A command is passed on, under no lock of ours, and never carried out here: whoever
 *         publishes may be the background thread, or a thread of the program inside an allocation.
 *
 * kernel-notes/memfd.md
 */
#include "control/page.h"

#include "base/bits.h"
#include "base/config.h"
#include "control/leak_request.h"
#include "control/setting.h"
#include "control/stats.h"
#include "gc/cycle.h"
#include "heap/metadata.h"
#include "os/lock.h"
#include "os/memory_file.h"
#include "os/sys.h"
#include "trace/events.h"
#include "trace/profile.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

static struct {
	struct gy_lock lock;
	struct gyre_control *page; /* [atomic: release in init, acquire elsewhere] */
	bool tried;                /* [lock] */
	struct gy_memory_file file;
	uint32_t background_tid;  /* [atomic: relaxed] */
	uint64_t background_runs; /* [atomic: relaxed] */
	uint64_t commanded_cycle; /* [lock] */
} control = {.lock = GY_LOCK_INIT(GY_RANK_control), .file = {.fd = -1}};

static size_t class_offset(void)
{
	return sizeof(struct gyre_control);
}

static size_t option_offset(void)
{
	return class_offset() + GY_STATS_CLASSES * sizeof(struct gyre_control_class);
}

static size_t bucket_offset(void)
{
	/* On pages of its own: the untouched part of the table takes no memory. */
	return (option_offset() + GY_OPT_COUNT * sizeof(struct gyre_control_option) + 4095) &
	       ~(size_t)4095;
}

static size_t total_bytes(void)
{
	return (bucket_offset() + GYRE_CONTROL_BUCKETS * sizeof(struct gyre_control_bucket) +
		4095) &
	       ~(size_t)4095;
}

static struct gyre_control *current(void)
{
	return __atomic_load_n(&control.page, __ATOMIC_ACQUIRE);
}

bool gy_control_exists(void)
{
	return current() != NULL;
}

static void fill_options(struct gyre_control *page)
{
	struct gyre_control_option *options = (void *)((char *)page + option_offset());

	for (unsigned i = 0; i < GY_OPT_COUNT; i++) {
		struct gy_text text = {options[i].value, sizeof(options[i].value), 0};
		struct gy_text name = {options[i].name, sizeof(options[i].name), 0};

		if (!options[i].name[0]) {
			struct gy_text initial = {options[i].initial,
						  sizeof(options[i].initial), 0};

			gy_text_add(&name, gy_option_table[i].name);
			gy_config_print_initial((enum gy_option_id)i, &initial);
			options[i].live = gy_option_table[i].live;
		}
		gy_config_print((enum gy_option_id)i, &text);
	}
}

static void fill_period(struct gyre_control *page)
{
	uint64_t period = gy_option(GY_OPT_sample);

	WRITE_RELAXED(page->sample_bytes, period);
	WRITE_RELAXED(page->sample_bytes_log2, gy_is_power_of_2(period) ? gy_log2(period) : 0);
}

static void fill_header(struct gyre_control *page)
{
	struct gy_text version = {page->version, sizeof(page->version), 0};
	page->abi = GYRE_CONTROL_ABI;
	page->header_bytes = sizeof(*page);
	page->total_bytes = total_bytes();
	page->pid = (uint32_t)getpid();
	page->start_ns = gy_now_ns();
	page->heap_base = gy_map.base;
	page->heap_reserved_bytes = gy_map.hugepage_reserved * GY_HUGEPAGE_BYTES;
	page->page_bytes = (uint32_t)GY_PAGE_BYTES;
	fill_period(page);
	gy_text_add(&version, GYRE_VERSION);
	page->class_offset = class_offset();
	page->class_count = GY_STATS_CLASSES;
	page->class_bytes = sizeof(struct gyre_control_class);
	page->option_offset = option_offset();
	page->option_count = GY_OPT_COUNT;
	page->option_bytes = sizeof(struct gyre_control_option);
	page->bucket_offset = bucket_offset();
	page->bucket_count = GYRE_CONTROL_BUCKETS;
	page->bucket_bytes = sizeof(struct gyre_control_bucket);
	WRITE_RELAXED(page->background_tid, READ_RELAXED(control.background_tid));
	fill_options(page);
}

void gy_control_init(void)
{
	uint64_t magic;
	size_t bytes = total_bytes();
	struct gyre_control *page;
	void *mapped = NULL;

	gy_lock_acquire(&control.lock);
	if (control.tried || !gy_option(GY_OPT_control)) {
		gy_lock_release(&control.lock);
		return;
	}
	control.tried = true;
	if (gy_memory_file_make(&control.file, GYRE_CONTROL_NAME, bytes, &mapped)) {
		gy_lock_release(&control.lock);
		return;
	}
	page = mapped;
	fill_header(page);
	memcpy(&magic, GYRE_CONTROL_MAGIC, sizeof(magic));
	/* CTL-1 */
	__atomic_store_n((uint64_t *)(void *)page->magic, magic, __ATOMIC_RELEASE);
	__atomic_store_n(&control.page, page, __ATOMIC_RELEASE);
	gy_lock_release(&control.lock);
	gy_profile_init((void *)((char *)page + bucket_offset()), GYRE_CONTROL_BUCKETS);
	gy_control_publish();
}

bool gy_control_is_asked(void)
{
	const struct gyre_control *page = current();

	return page && READ_RELAXED(page->request) != READ_RELAXED(page->answered);
}

/* CTL-6: takes the commands; true if a collection was asked for. The first cycle that begins from
 * now on answers it: those under way count neither as done nor as failed yet. [lock: control] */
static bool take_commands(struct gyre_control *page, struct gyre_control_gc *gc)
{
	uint32_t commands = READ_RELAXED(page->commands);

	if (commands)
		commands = __atomic_exchange_n(&page->commands, 0, __ATOMIC_ACQ_REL);
	gy_stats_gather_gc(gc);
	if (commands & GYRE_CONTROL_COLLECT && gc->used)
		control.commanded_cycle = gc->cycles + gc->failed_stops + 1 +
					  (gc->phase == GY_GC_MARKING || gc->phase == GY_GC_ENDING);
	gc->commanded_cycle = control.commanded_cycle;
	return commands & GYRE_CONTROL_COLLECT && gc->used;
}

void gy_control_publish(void)
{
	struct gyre_control *page = current();
	static struct gyre_control_totals totals;                   /* [lock: control] */
	static struct gyre_control_class classes[GY_STATS_CLASSES]; /* [lock: control] */
	static struct gyre_control_gc gc;                           /* [lock: control] */
	static struct gyre_control_events events;                   /* [lock: control] */
	struct gyre_control_leak leak;
	uint32_t request;
	bool asked, collect, scan;

	if (!page)
		return;
	gy_lock_acquire(&control.lock);
	request = __atomic_load_n(&page->request, __ATOMIC_ACQUIRE);
	asked = request != READ_RELAXED(page->answered);
	/* EVENT-1: after the request is read, before it is answered. */
	gy_events_follow(asked);
	gy_setting_take(&page->setting); /* before the snapshot, which shows it */
	gy_stats_gather(&totals, classes);
	collect = take_commands(page, &gc);
	scan = gy_leak_request_take(&page->leak, &leak);
	gy_stats_gather_events(&events, asked);
	totals.background_runs = READ_RELAXED(control.background_runs);
	/* CTL-2, PAGE-4 */
	WRITE_RELAXED(page->snapshot_seq, page->snapshot_seq | 1);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	page->totals = totals;
	page->gc = gc;
	page->events = events;
	memcpy((char *)page + class_offset(), classes, sizeof(classes));
	fill_options(page);
	fill_period(page);
	WRITE_RELAXED(page->snapshot_ns, gy_now_ns());
	__atomic_store_n(&page->snapshot_seq, (page->snapshot_seq | 1) + 1, __ATOMIC_RELEASE);
	if (asked) {
		__atomic_store_n(&page->answered, request, __ATOMIC_RELEASE);
		gy_sys_futex_wake(&page->answered, INT_MAX, true);
	}
	gy_lock_release(&control.lock);
	if (collect)
		gy_cycle_request(GY_GC_FORCED); /* PAGE-5 */
	if (unlikely(scan))
		gy_leak_request_begin(&page->leak, &leak);
}

uint64_t gy_control_published_ns(void)
{
	const struct gyre_control *page = current();

	return page ? READ_RELAXED(page->snapshot_ns) : 0;
}

uint32_t *gy_control_request_word(void)
{
	struct gyre_control *page = current();

	return page ? &page->request : NULL;
}

void gy_control_set_background(uint32_t tid, uint64_t runs)
{
	struct gyre_control *page = current();

	WRITE_RELAXED(control.background_tid, tid);
	WRITE_RELAXED(control.background_runs, runs);
	if (page)
		WRITE_RELAXED(page->background_tid, tid);
}

void gy_control_fork_prepare(void)
{
	gy_lock_acquire(&control.lock);
}

void gy_control_fork_parent(void)
{
	gy_lock_release(&control.lock);
}

/* PAGE-1: the parent's page stays mapped, because the profile's frames lie in it (PROFILE-2). */
void gy_control_fork_child(void)
{
	gy_lock_release(&control.lock);
	gy_lock_init(&control.lock, GY_RANK_control);
	control.page = NULL;
	control.tried = false;
	control.background_tid = 0;
	control.background_runs = 0;
	control.commanded_cycle = 0;
	gy_leak_request_fork_child();
	gy_memory_file_forget(&control.file);
}
