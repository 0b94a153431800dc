/* stats.c - the heap's numbers, gathered from their owners.
 *
 * Counters live with their owner and are kept by it anyway; here they are only read and added up.
 * No allocation pays for a statistic: a class's allocations are what its caches' countdowns say
 * (CACHE-4), its live blocks are what left the central list and is not in a cache.
 *
 *   live    = taken - given - cached - lost      blocks
 *   frees   = mallocs - live
 *   inuse   = pages in spans, idle = the rest of what was made usable
 *   released = free pages without memory + kernel pages given back inside spans
 *
 * The collector's numbers are kept by the collector (gc/cycle.h) and copied.
 *
 * STATS-1  While other threads run, their caches are read racily: numbers may be off by what they
 *          do meanwhile. At rest they are exact. Differences never go below 0.
 */
#include "control/stats.h"

#include "base/config.h"
#include "gc/barrier.h"
#include "gc/cycle.h"
#include "gc/layout.h"
#include "heap/large.h"
#include "heap/misuse.h"
#include "heap/sampled.h"
#include "heap/thread_cache.h"
#include "mutator/idle.h"
#include "trace/events.h"
#include "trace/sampler.h"
#include "trace/stacks.h"
#include "trace/ticks.h"

#include <gyre/gc.h>
#include <string.h>

static uint64_t less(uint64_t a, uint64_t b)
{
	return a - MIN(a, b);
}

struct cached {
	uint64_t blocks, mallocs, refills, flushes;
};

/* Adds up every cache. [lock: registry] */
GY_RACY_READER static void add_caches(struct cached cached[GY_CLASS_COUNT])
{
	for (const struct gy_thread_cache *cache = gy_registry.first; cache; cache = cache->next) {
		for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
			const struct gy_bin *bin = &cache->bins[c];
			void **top = READ_RELAXED(bin->top), **floor = READ_RELAXED(bin->floor);

			if (top > floor && top - floor <= UINT16_MAX)
				cached[c].blocks += (uint64_t)(top - floor);
			cached[c].mallocs += gy_cache_mallocs(cache, c);
			cached[c].refills += READ_RELAXED(cache->cold[c].refills);
			cached[c].flushes += READ_RELAXED(cache->cold[c].flushes);
		}
	}
}

static void gather_class(unsigned c, const struct cached *cached, struct gyre_control_class *class)
{
	const struct gy_size_class *size = &gy_size_classes[c];
	uint64_t out = 0;

	memset(class, 0, sizeof(*class));
	class->object_bytes = size->bytes;
	class->span_bytes = (uint32_t)(size->pages * GY_PAGE_BYTES);
	class->span_objects = size->objects;
	class->thread_cached = cached->blocks;
	class->mallocs = cached->mallocs;
	for (unsigned sampled = 0; sampled < 2; sampled++) {
		struct gy_central *central = &gy_centrals[sampled][c];

		if (!gy_central_is_used(sampled, c))
			continue;
		gy_lock_acquire(&central->lock);
		out += central->taken - central->given - central->lost;
		class->spans += central->spans;
		class->central_cached += central->slot_count;
		class->span_free += central->span_free + central->borrowed;
		class->released_bytes += central->gone_bytes;
		class->refills += central->refills;
		class->flushes += central->flushes;
		class->mallocs += READ_RELAXED(central->retired_mallocs) +
				  READ_RELAXED(central->direct_mallocs);
		gy_lock_release(&central->lock);
	}
	class->central_cached += gy_sampled_waiting(c);
	class->live = less(out, cached->blocks + gy_sampled_waiting(c));
	class->frees = less(class->mallocs, class->live);
}

static void add_class(struct gyre_control_totals *totals, const struct gyre_control_class *class)
{
	totals->heap_alloc += class->live * class->object_bytes;
	totals->mallocs += class->mallocs;
	totals->frees += class->frees;
	totals->thread_cache_bytes += class->thread_cached * class->object_bytes;
	totals->central_bytes += (class->central_cached + class->span_free) * class->object_bytes;
	totals->heap_released += class->released_bytes;
}

static void add_page_heap(struct gyre_control_totals *totals)
{
	struct gy_page_heap_stats pages;
	struct gy_large_stats large;

	gy_page_heap_read_stats(&pages);
	gy_large_read_stats(&large);
	totals->heap_sys = pages.hugepages * GY_HUGEPAGE_BYTES;
	totals->heap_inuse = less(pages.used_pages, large.kept_pages) * GY_PAGE_BYTES;
	totals->heap_idle = totals->heap_sys - totals->heap_inuse;
	totals->heap_released += pages.released_pages * GY_PAGE_BYTES;
	totals->large_bytes = large.pages * GY_PAGE_BYTES;
	totals->large_blocks = large.blocks;
	totals->large_mallocs = large.mallocs;
	totals->heap_alloc += totals->large_bytes;
	totals->mallocs += large.mallocs;
	totals->frees += large.mallocs - large.blocks;
	totals->hugepages = pages.hugepages;
	totals->hugepages_free = pages.hugepages_free;
	totals->hugepages_intact = pages.hugepages - pages.hugepages_broken;
	totals->hugepages_released = pages.hugepages_released;
	totals->released_total = pages.released_total_bytes;
	totals->release_calls = pages.release_calls;
	totals->growths = pages.growths;
	totals->ooms = pages.ooms;
	totals->memory_limit = pages.limit_bytes;
}

void gy_stats_gather(struct gyre_control_totals *totals,
		     struct gyre_control_class classes[GY_STATS_CLASSES])
{
	struct cached cached[GY_CLASS_COUNT];
	struct gy_sampler_counts samples;

	memset(totals, 0, sizeof(*totals));
	memset(cached, 0, sizeof(cached));
	gy_lock_acquire(&gy_registry.lock);
	add_caches(cached);
	totals->threads = gy_registry.count;
	for (unsigned c = 1; c < GY_CLASS_COUNT; c++) {
		struct gyre_control_class class;

		gather_class(c, &cached[c], &class);
		add_class(totals, &class);
		if (classes)
			classes[c - 1] = class;
	}
	gy_lock_release(&gy_registry.lock);
	add_page_heap(totals);
	gy_sampler_counts(&samples);
	totals->samples = samples.samples;
	totals->samples_live = samples.live;
	totals->samples_lost = samples.lost;
	totals->heap_reserved = gy_map.hugepage_reserved * GY_HUGEPAGE_BYTES;
	totals->metadata_bytes = gy_metadata_bytes();
	totals->caches_taken = gy_idle_taken();
	totals->misuses = gy_misuse_count();
}

/* A malloc-only process has none of gc/ in memory: it is not called until a thread has used it. */
static bool collector_used(void)
{
	return gy_gc_started();
}

void gy_stats_gather_gc(struct gyre_control_gc *gc)
{
	struct gyre_gc_stats stats;

	memset(gc, 0, sizeof(*gc));
	if (!collector_used())
		return;
	gy_cycle_read_stats(&stats);
	*gc = (struct gyre_control_gc){
		.used = 1,
		.cycles = stats.cycles,
		.cycles_forced = stats.cycles_forced,
		.failed_stops = stats.failed_stops,
		.phase = stats.phase,
		.pause_max_ns = stats.pause_max_ns,
		.pause_total_ns = stats.pause_total_ns,
		.pause_last_ns = stats.pause_last_ns,
		.heap_live_bytes = stats.heap_live_bytes,
		.heap_inuse_bytes = stats.heap_inuse_bytes,
		.heap_goal_bytes = stats.heap_goal_bytes,
		.heap_trigger_bytes = stats.heap_trigger_bytes,
		.heap_span_bytes = stats.heap_span_bytes,
		.growth_rate_permille = (uint64_t)(stats.heap_growth_rate * 1000 + 0.5),
		.percent = stats.percent,
		.memory_limit_bytes = stats.memory_limit_bytes,
		.workers = stats.workers,
		.objects_allocated = stats.objects_allocated,
		.bytes_allocated = stats.bytes_allocated,
		.bytes_freed = stats.bytes_freed,
		.mark_bytes = stats.mark_bytes,
		.mark_total_ns = stats.mark_total_ns,
		.mark_cpu_ns = stats.mark_cpu_ns,
		.assists = stats.assists,
		.assist_ns = stats.assist_ns,
		.barrier_shades = stats.barrier_shades,
		.stack_bytes = stats.stack_bytes,
		.root_bytes = stats.root_bytes,
		.threads_stopped = stats.threads_stopped,
		.threads_blocked = stats.threads_blocked,
		.weak_cleared = stats.weak_cleared,
		.finalisers_run = stats.finalisers_run,
	};
}

void gy_stats_gather_events(struct gyre_control_events *events, bool asked)
{
	struct gy_events_stats stats;
	struct gy_stacks_stats stacks;

	gy_events_read_stats(&stats);
	gy_stacks_read_stats(&stacks);
	*events = (struct gyre_control_events){
		.events_available = stats.available,
		.events_recording = stats.recording,
		.events_recorded = stats.recorded,
		.events_dropped = stats.dropped,
		.events_shipped = stats.shipped,
		.events_waiting = stats.waiting,
		.events_buffers = stats.buffers,
		.stack_entries = stacks.entries,
		.stacks_used = stacks.used,
		.stacks_full = stacks.full,
	};
	if (collector_used()) {
		const struct gyre_type_name *names;

		events->barrier_hits = gy_barrier_hits();
		events->type_count = gy_layout_type_names(&names);
		events->type_names = (uintptr_t)names;
	}
	/* Which counter it is costs 10-20 us to find out (TICKS-1): not before somebody looks. */
	if (asked || READ_RELAXED(gy_ticks_kind) != GY_TICKS_UNKNOWN)
		events->ticks_hz = gy_ticks_hz(&events->ticks_then, &events->ticks_then_ns);
}
