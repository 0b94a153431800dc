/* profile_page.c - see profile_page.h. */
#include "profile_page.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "snapshot.h"

const struct gy_profile_type gy_heap_types[4] = {
	[HEAP_ALLOC_OBJECTS] = {"alloc_objects", "count"},
	[HEAP_ALLOC_SPACE] = {"alloc_space", "bytes"},
	[HEAP_INUSE_OBJECTS] = {"inuse_objects", "count"},
	[HEAP_INUSE_SPACE] = {"inuse_space", "bytes"},
};

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* The page has blocks in sixteenths. */
static uint64_t blocks(uint64_t sixteenths)
{
	return sixteenths / 16 + (sixteenths % 16 >= 8);
}

static int bucket_add(struct gy_profile *profile, const struct gyre_control_bucket *bucket)
{
	uint64_t seen = bucket->alloc_objects, live = minus(seen, bucket->free_objects);
	uint64_t values[4] = {
		[HEAP_ALLOC_OBJECTS] = blocks(bucket->alloc_weight_objects),
		[HEAP_ALLOC_SPACE] = bucket->alloc_weight,
		[HEAP_INUSE_OBJECTS] = blocks(
			minus(bucket->alloc_weight_objects, bucket->free_weight_objects)),
		[HEAP_INUSE_SPACE] = minus(bucket->alloc_weight, bucket->free_weight),
	};
	uint64_t samples[4] = {seen, seen, live, live};
	/* A walk that filled the bucket most likely had more to walk. */
	bool cut = bucket->depth == GYRE_CONTROL_FRAMES;

	if (!seen) /* all its samples were lost */
		return 0;
	return gy_profile_add(profile, bucket->frames, bucket->depth, cut, values, samples);
}

int gy_profile_from_page(const struct gy_target *target, const struct gy_snapshot *snapshot,
			 struct gy_profile **result)
{
	struct gyre_control_bucket *buckets = NULL;
	struct gy_profile *profile;
	struct timespec wall;
	size_t count = 0, torn = 0;
	char exe[PATH_MAX], *deleted;
	int error;

	if (!snapshot->header.sample_bytes)
		return -ENODATA;
	error = gy_control_buckets(target->control, snapshot, &buckets, &count, &torn);
	if (error)
		return error;
	profile = gy_profile_new(gy_heap_types, 4);
	if (!profile)
		error = -ENOMEM;
	for (size_t i = 0; i < count && !error; i++)
		error = bucket_add(profile, &buckets[i]);
	free(buckets);
	if (!error) {
		/* Not readable: addresses stay without files, values are good. */
		gy_profile_mappings_read(profile, target->pid);
		snprintf(exe, sizeof(exe), "%s", target->exe);
		deleted = strstr(exe, " (deleted)");
		if (deleted && !deleted[10])
			*deleted = 0;
		gy_profile_program_first(profile, exe);
		clock_gettime(CLOCK_REALTIME, &wall);
		profile->time_ns = (int64_t)wall.tv_sec * 1000000000 + wall.tv_nsec;
		profile->duration_ns = (int64_t)gy_snapshot_uptime_ns(snapshot);
		profile->default_type = HEAP_INUSE_SPACE;
		profile->period = snapshot->header.sample_bytes;
		profile->pid = target->pid;
		profile->torn = torn;
		memcpy(profile->comm, target->comm, sizeof(profile->comm));
	}
	if (error)
		gy_profile_free(profile);
	else
		*result = profile;
	return error;
}
