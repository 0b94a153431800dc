/* gyre.c - the functions of gyre/gyre.h: validate, call down. */
#include <gyre/gyre.h>

#include "base/config.h"
#include "control/setting.h"
#include "control/stats.h"
#include "gc/space.h"
#include "heap/heap.h"
#include "trace/profile.h"

#include <errno.h>
#include <string.h>

/* struct gyre_stats is the public beginning of the control page's totals. */
_Static_assert(offsetof(struct gyre_stats, background_runs) ==
		       offsetof(struct gyre_control_totals, background_runs),
	       "the two lists of numbers agree");

GY_EXPORT int gyre_stats_read(struct gyre_stats *stats, size_t stats_bytes)
{
	struct gyre_control_totals totals;

	if (!stats || !stats_bytes)
		return -EINVAL;
	memset(stats, 0, stats_bytes);
	if (!gy_heap_start())
		return 0;
	gy_stats_gather(&totals, NULL);
	memcpy(stats, &totals, MIN(stats_bytes, sizeof(*stats)));
	return 0;
}

static void copy_class(struct gyre_class_stats *to, const struct gyre_control_class *from)
{
	to->object_bytes = from->object_bytes;
	to->span_bytes = from->span_bytes;
	to->span_objects = from->span_objects;
	to->spans = from->spans;
	to->live = from->live;
	to->thread_cached = from->thread_cached;
	to->central_cached = from->central_cached;
	to->span_free = from->span_free;
	to->released_bytes = from->released_bytes;
	to->mallocs = from->mallocs;
	to->frees = from->frees;
	to->refills = from->refills;
	to->flushes = from->flushes;
}

GY_EXPORT int gyre_class_stats_read(struct gyre_class_stats *classes, size_t capacity,
				    size_t entry_bytes)
{
	struct gyre_control_class all[GY_STATS_CLASSES];
	struct gyre_control_totals totals;

	if (!entry_bytes || (!classes && capacity))
		return -EINVAL;
	memset(all, 0, sizeof(all));
	if (gy_heap_start())
		gy_stats_gather(&totals, all);
	for (size_t i = 0; i < MIN(capacity, GY_STATS_CLASSES); i++) {
		struct gyre_class_stats one;

		memset(&one, 0, sizeof(one));
		copy_class(&one, &all[i]);
		memset((char *)classes + i * entry_bytes, 0, entry_bytes);
		memcpy((char *)classes + i * entry_bytes, &one, MIN(entry_bytes, sizeof(one)));
	}
	return (int)GY_STATS_CLASSES;
}

GY_EXPORT size_t gyre_trim(size_t keep_bytes)
{
	gy_space_trim();
	return gy_heap_trim(keep_bytes);
}

GY_EXPORT size_t gyre_thread_cache_flush(void)
{
	return gy_heap_flush();
}

GY_EXPORT int gyre_option_get(const char *name, uint64_t *value)
{
	int id = name ? gy_config_find(name) : -ENOENT;

	if (id < 0)
		return id;
	gy_heap_start();
	*value = gy_option((enum gy_option_id)id);
	return 0;
}

GY_EXPORT int gyre_option_set(const char *name, uint64_t value)
{
	int id = name ? gy_config_find(name) : -ENOENT;

	if (id < 0)
		return id;
	gy_heap_start();
	return gy_setting_change((enum gy_option_id)id, value);
}

GY_EXPORT int gyre_profile_each(int (*visit)(const struct gyre_profile_entry *entry, void *context),
				void *context)
{
	return gy_profile_each(visit, context);
}

GY_EXPORT const char *gyre_version(void)
{
	return GYRE_VERSION;
}
