/* top_look.c - see top_look.h.
 *
 * Rates of sites are made from a ring of looks at the profile: each keeps, for every bucket, what
 * it had allocated and freed. Buckets do not move while a process lives (CTL-3) and never become
 * empty, so those of an earlier look stand among those of now in the same order.
 */
#include "top_look.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "session.h"
#include "snapshot.h"

#define RATE_SECONDS 10
#define RING 64 /* looks kept; of more than that in RATE_SECONDS, the last */

const char *const gy_top_sort_names[TOP_SORTS] = {"rate", "held", "growth"};

struct past_bucket {
	uint64_t hash, allocated, held;
};

struct past_look {
	uint64_t time_ns;
	struct past_bucket *buckets;
	size_t count;
};

struct gy_top_past {
	struct past_look looks[RING];
	size_t count; /* looks so far; the newest is looks[(count - 1) % RING] */
};

int gy_top_open(struct gy_top *top, struct gy_target *target)
{
	*top = (struct gy_top){.target = target};
	top->past = calloc(1, sizeof(*top->past));
	top->symbols = gy_symbols_open(target->pid);
	if (top->past && top->symbols)
		return 0;
	gy_top_close(top);
	return gy_out_error("no memory for the table of sites");
}

void gy_top_close(struct gy_top *top)
{
	for (size_t i = 0; top->past && i < RING; i++)
		free(top->past->looks[i].buckets);
	free(top->past);
	free(top->sites);
	if (top->looked)
		gy_snapshot_free(&top->snapshot);
	if (top->symbols)
		gy_symbols_close(top->symbols);
	*top = (struct gy_top){0};
}

/* ---------------------------------------------------------------- the process */

/* Processor time so far, and how many threads there are; 0 where it cannot be read. */
static uint64_t process_cpu_ns(int pid, uint64_t *threads)
{
	uint64_t user = 0, kernel = 0;
	char path[64], text[1024], *at;
	size_t length;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return 0;
	length = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[length] = 0;
	at = strrchr(text, ')'); /* the name before it may hold anything */
	if (!at || sscanf(at + 1,
			  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
			  " %*d %*d %*d %*d %" SCNu64,
			  &user, &kernel, threads) != 3)
		return 0;
	return (user + kernel) * (1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK));
}

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static double per_second(uint64_t now, uint64_t before, double seconds)
{
	return seconds > 0 ? (double)minus(now, before) / seconds : 0;
}

static double change_per_second(uint64_t now, uint64_t before, double seconds)
{
	return seconds > 0 ? ((double)now - (double)before) / seconds : 0;
}

/* Bytes in blocks that were allocated, of the classes; what large blocks took is not told. */
static uint64_t class_bytes_allocated(const struct gy_snapshot *snapshot)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < snapshot->class_count; i++)
		sum += snapshot->classes[i].mallocs * snapshot->classes[i].object_bytes;
	return sum;
}

static void rates_make(struct gy_top *top, const struct gy_snapshot *now, uint64_t cpu_ns)
{
	const struct gyre_control_totals *a = &top->snapshot.header.totals;
	const struct gyre_control_totals *b = &now->header.totals;
	const struct gyre_control_gc *gc_a = &top->snapshot.header.gc, *gc_b = &now->header.gc;
	double s = top->seconds;

	top->rates = (struct gy_top_rates){
		.mallocs = per_second(b->mallocs + gc_b->objects_allocated,
				      a->mallocs + gc_a->objects_allocated, s),
		.frees = per_second(b->frees, a->frees, s),
		.heap_bytes = change_per_second(b->heap_alloc, a->heap_alloc, s),
		.samples = per_second(b->samples, a->samples, s),
		.cycles = per_second(gc_b->cycles, gc_a->cycles, s),
		.cpu = per_second(cpu_ns, top->cpu_ns, s) / 1e9,
		.gc_cpu = per_second(gc_b->mark_cpu_ns + gc_b->assist_ns,
				     gc_a->mark_cpu_ns + gc_a->assist_ns, s) /
			  1e9,
		.allocated_bytes =
			per_second(class_bytes_allocated(now),
				   class_bytes_allocated(&top->snapshot),
				   s) +
			per_second(gc_b->bytes_allocated, gc_a->bytes_allocated, s),
		.released_bytes = per_second(b->released_total, a->released_total, s),
	};
}

/* ---------------------------------------------------------------- sites */

static uint64_t hash_of(const struct gyre_control_bucket *bucket)
{
	uint64_t hash = 14695981039346656037ull;

	for (uint32_t i = 0; i < bucket->depth; i++)
		hash = (hash ^ bucket->frames[i]) * 1099511628211ull;
	return hash;
}

/* The look that rates are made against: the oldest that is not older than RATE_SECONDS, or the
 * newest of those that are. NULL at the first look. */
static const struct past_look *look_before(const struct gy_top_past *past, uint64_t now_ns)
{
	const struct past_look *found = NULL;

	for (size_t back = 0; back < RING && back < past->count; back++) {
		const struct past_look *look = &past->looks[(past->count - 1 - back) % RING];

		if (found && now_ns - look->time_ns > RATE_SECONDS * 1000000000ull)
			break;
		found = look;
	}
	return found;
}

static void site_add(struct gy_top *top, const struct gyre_control_bucket *bucket,
		     const struct past_bucket *now, const struct past_bucket *before,
		     double seconds)
{
	struct gy_top_site *site = &top->sites[top->site_count];

	*site = (struct gy_top_site){
		.hash = now->hash,
		.held_bytes = now->held,
		.held_objects = minus(bucket->alloc_weight_objects,
				      bucket->free_weight_objects) /
				16,
		.bytes_per_s = per_second(now->allocated, before ? before->allocated : 0, seconds),
		.growth_per_s = change_per_second(now->held, before ? before->held : 0, seconds),
		.depth = bucket->depth,
	};
	memcpy(site->frames, bucket->frames, bucket->depth * sizeof(site->frames[0]));
	if (site->held_bytes || site->bytes_per_s > 0)
		top->site_count++;
	top->sampled_bytes += site->held_bytes;
}

/* 0 or -ENOMEM. */
static int sites_make(struct gy_top *top, const struct gyre_control_bucket *buckets, size_t count)
{
	const struct past_look *before = look_before(top->past, top->time_ns);
	struct past_look *look = &top->past->looks[top->past->count % RING];
	double seconds = before ? (double)(top->time_ns - before->time_ns) / 1e9 : 0;
	struct past_bucket *noted = malloc((count + 1) * sizeof(*noted));
	struct gy_top_site *sites = malloc((count + 1) * sizeof(*sites));
	size_t same = 0; /* bucket of the look before */

	if (!noted || !sites) {
		free(noted);
		free(sites);
		return -ENOMEM;
	}
	free(top->sites);
	top->sites = sites;
	top->site_count = 0;
	top->sampled_bytes = 0;
	for (size_t i = 0; i < count; i++) {
		noted[i] = (struct past_bucket){
			.hash = hash_of(&buckets[i]),
			.allocated = buckets[i].alloc_weight,
			.held = minus(buckets[i].alloc_weight, buckets[i].free_weight),
		};
		if (before && same < before->count && before->buckets[same].hash == noted[i].hash)
			site_add(top, &buckets[i], &noted[i], &before->buckets[same++], seconds);
		else
			site_add(top, &buckets[i], &noted[i], NULL, seconds);
	}
	free(look->buckets); /* the oldest; `before` is not used any more */
	*look = (struct past_look){.time_ns = top->time_ns, .buckets = noted, .count = count};
	top->past->count++;
	return 0;
}

int gy_top_look(struct gy_top *top)
{
	struct gyre_control_bucket *buckets = NULL;
	struct gy_snapshot snapshot;
	uint64_t now_ns, cpu_ns, rss_kib = 0;
	size_t count = 0, torn = 0;
	int error = -ESRCH;

	/* The page outlives its process while we have it open. */
	if (!gy_target_ended(top->target))
		error = gy_control_read(top->target->control, GY_SNAPSHOT_WAIT_MS, &snapshot);
	if (error)
		return error;
	now_ns = gy_monotonic_ns();
	cpu_ns = process_cpu_ns(top->target->pid, &top->threads);
	gy_status_u64(top->target->pid, "VmRSS:", &rss_kib);
	top->rss_bytes = rss_kib * 1024;
	if (top->looked) {
		top->seconds = (double)(now_ns - top->time_ns) / 1e9;
		rates_make(top, &snapshot, cpu_ns);
		gy_snapshot_free(&top->snapshot);
	}
	top->snapshot = snapshot;
	top->looked = true;
	top->time_ns = now_ns;
	top->cpu_ns = cpu_ns;
	top->history[top->history_count++ % GY_TOP_HISTORY] =
		snapshot.header.totals.heap_alloc + snapshot.header.gc.heap_inuse_bytes;
	if (!snapshot.header.sample_bytes)
		return 0; /* nothing is sampled: no sites */
	error = gy_control_buckets(top->target->control, &snapshot, &buckets, &count, &torn);
	if (!error)
		error = sites_make(top, buckets, count);
	free(buckets);
	return error;
}

/* ---------------------------------------------------------------- order, names */

static double weight_of(const struct gy_top_site *site, enum gy_top_sort order)
{
	switch (order) {
	case TOP_BY_HELD:
		return (double)site->held_bytes;
	case TOP_BY_GROWTH:
		return site->growth_per_s;
	case TOP_BY_RATE:
	case TOP_SORTS:
		break;
	}
	return site->bytes_per_s;
}

static int compare(const void *a, const void *b, void *order)
{
	const struct gy_top_site *x = a, *y = b;
	enum gy_top_sort sort = *(const enum gy_top_sort *)order;
	double left = weight_of(x, sort), right = weight_of(y, sort);

	if (left < right || left > right)
		return left < right ? 1 : -1;
	if (x->held_bytes != y->held_bytes)
		return x->held_bytes < y->held_bytes ? 1 : -1;
	return x->hash < y->hash ? -1 : x->hash > y->hash;
}

void gy_top_sort(struct gy_top *top, enum gy_top_sort order)
{
	if (top->site_count)
		qsort_r(top->sites, top->site_count, sizeof(top->sites[0]), compare, &order);
}

void gy_top_site_line(const struct gy_top *top, const struct gy_top_site *site, char *line,
		      size_t bytes)
{
	gy_symbols_line(top->symbols, site->frames, site->depth, line, bytes);
}
