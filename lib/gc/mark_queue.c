/* mark_queue.c - markers as a pool, the chunks that carry their work, and who is busy.
 *
 * QUEUE-1  A chunk belongs to one marker, to a shared list, or to the list of free ones. A marker
 *          has two of its own at any time: it lets one go only for another.
 * QUEUE-2  So a push fails only where `in` is full and no chunk is to be had. Then a block's
 *          `queued` is put back to 0 and gy_mark_overflowed raised: its grey objects are found
 *          again, when the queues have run dry, by looking through all blocks (mark.c, find_greys).
 *          What is popped makes room, so this comes to an end.
 * MARK-3   `busy` counts the markers that are; `activity` how often one became so. All under the
 *          lock, with the shared lists: whoever holds it and sees nothing shared and nobody busy
 *          knows that no marker has anything grey in hand.
 *
 * A marker that becomes busy by a shared chunk does both under one hold of the lock; one that
 * becomes busy by a pointer of its own (roots, barrier buffers) is the business of whoever brings
 * the pointer.
 *
 * Not here: what is done with an entry (mark.c).
 */
#include "gc/mark_queue.h"

#include "os/sys.h"

#include <sched.h>
#include <string.h>

#define CHUNK_LOG2 10
#define CHUNKS_KEPT 1024u /* from one cycle to the next: 1 MiB */

struct gy_mark_shared gy_mark_shared;
uint32_t gy_mark_hungry, gy_mark_overflowed;
uint32_t gy_mark_chunks_most = UINT32_MAX;

static struct {
	struct gy_lock lock;
	struct gy_mark_chunk *free;
	uint32_t free_count, chunks; /* chunks: in existence */
	struct gy_marker *markers, *free_markers;
	uint32_t taken, busy;
	uint32_t stranded; /* busy ones among the free: no chunk was to be had for their work */
	uint64_t activity;
	bool closed; /* BAR-5 */
	struct gy_mark_stats before; /* [coordinator] of all cycles before this one */
	uint32_t wakes, sleepers; /* [atomic] futex; who sleeps on it */
} mark = {.lock = GY_LOCK_INIT(GY_RANK_mark), .closed = true};

/* ------------------------------------------------------------------ chunks; [lock: mark] */

static struct gy_mark_chunk *chunk_make(void)
{
	struct gy_mark_chunk *chunk;

	if (mark.chunks >= gy_mark_chunks_most)
		return NULL;
	chunk = gy_metadata_block_take(CHUNK_LOG2);
	if (chunk)
		mark.chunks++;
	return chunk;
}

static struct gy_mark_chunk *chunk_take(void)
{
	struct gy_mark_chunk *chunk = mark.free;

	if (chunk) {
		mark.free = chunk->next;
		mark.free_count--;
	} else {
		chunk = chunk_make();
		if (!chunk)
			return NULL;
	}
	chunk->next = NULL;
	chunk->first = chunk->end = 0;
	return chunk;
}

static void chunk_give(struct gy_mark_chunk *chunk)
{
	chunk->next = mark.free;
	mark.free = chunk;
	mark.free_count++;
}

static void wake_sleepers(void)
{
	if (!READ_RELAXED(mark.sleepers))
		return;
	__atomic_fetch_add(&mark.wakes, 1, __ATOMIC_SEQ_CST);
	gy_sys_futex_wake(&mark.wakes, INT32_MAX, false);
}

static void share(struct gy_mark_chunk *chunk)
{
	struct gy_mark_shared *shared = &gy_mark_shared;

	chunk->next = NULL;
	if (shared->tail)
		shared->tail->next = chunk;
	else
		shared->head = chunk;
	shared->tail = chunk;
	WRITE_RELAXED(shared->chunks, shared->chunks + 1);
}

static struct gy_mark_chunk *shared_take(void)
{
	struct gy_mark_shared *shared = &gy_mark_shared;
	struct gy_mark_chunk *chunk = shared->head;

	if (!chunk)
		return NULL;
	shared->head = chunk->next;
	if (!shared->head)
		shared->tail = NULL;
	WRITE_RELAXED(shared->chunks, shared->chunks - 1);
	return chunk;
}

static bool nothing_shared(void)
{
	return !gy_mark_shared.head && !gy_mark_shared.pieces && !READ_RELAXED(gy_mark_overflowed);
}

/* ------------------------------------------------------------------ busy; [lock: mark] */

static void count_hungry(void)
{
	WRITE_RELAXED(gy_mark_hungry, mark.taken + mark.stranded - mark.busy);
}

static void set_busy(struct gy_marker *marker)
{
	if (marker->busy)
		return;
	marker->busy = true;
	mark.busy++;
	mark.activity++;
	count_hungry();
}

void gy_mark_become_busy(struct gy_marker *marker)
{
	gy_lock_acquire(&mark.lock);
	set_busy(marker);
	gy_lock_release(&mark.lock);
}

void gy_mark_become_idle(struct gy_marker *marker)
{
	bool last;

	if (!marker->busy)
		return;
	gy_lock_acquire(&mark.lock);
	marker->busy = false;
	mark.busy--;
	count_hungry();
	last = !mark.busy && nothing_shared();
	gy_lock_release(&mark.lock);
	if (last)
		wake_sleepers();
}

/* ------------------------------------------------------------------ pieces, push, pop */

bool gy_mark_piece_give(uint64_t entry)
{
	struct gy_mark_shared *shared = &gy_mark_shared;
	bool room;

	gy_lock_acquire(&mark.lock);
	room = shared->pieces < GY_MARK_PIECES;
	if (room) {
		shared->stack[shared->pieces] = entry;
		WRITE_RELAXED(shared->pieces, shared->pieces + 1);
	}
	gy_lock_release(&mark.lock);
	if (room)
		wake_sleepers();
	return room;
}

bool gy_mark_piece_take(struct gy_marker *marker, uint64_t *entry)
{
	struct gy_mark_shared *shared = &gy_mark_shared;
	bool got;

	gy_lock_acquire(&mark.lock);
	got = shared->pieces != 0;
	if (got) {
		set_busy(marker);
		WRITE_RELAXED(shared->pieces, shared->pieces - 1);
		*entry = shared->stack[shared->pieces];
	}
	gy_lock_release(&mark.lock);
	return got;
}

GY_NOINLINE bool gy_mark_push_slow(struct gy_marker *marker, uint64_t entry)
{
	struct gy_mark_queue *queue = &marker->queue;
	struct gy_mark_chunk *fresh = NULL, *full = queue->in;
	bool shared = false;

	gy_lock_acquire(&mark.lock);
	set_busy(marker);
	if (full->end == GY_MARK_CHUNK_ENTRIES) {
		fresh = chunk_take();
		if (fresh) {
			share(full);
			queue->in = fresh;
			shared = true;
		}
	}
	gy_lock_release(&mark.lock);
	if (shared)
		wake_sleepers();
	if (queue->in->end == GY_MARK_CHUNK_ENTRIES)
		return false;
	queue->in->entries[queue->in->end++] = entry;
	return true;
}

/* Puts what is at hand to where it is popped from; false: nothing is. */
static bool refill_own(struct gy_mark_queue *queue)
{
	struct gy_mark_chunk *in = queue->in;

	queue->in = queue->out;
	queue->out = in;
	queue->in->first = queue->in->end = 0;
	return in->first != in->end;
}

static bool refill_shared(struct gy_marker *marker)
{
	struct gy_mark_chunk **to = &marker->queue.out, *chunk;

	if (!READ_RELAXED(gy_mark_shared.chunks))
		return false;
	gy_lock_acquire(&mark.lock);
	chunk = shared_take();
	if (chunk) {
		set_busy(marker);
		chunk_give(*to);
		*to = chunk;
	}
	gy_lock_release(&mark.lock);
	return chunk != NULL;
}

GY_NOINLINE bool gy_mark_pop_slow(struct gy_marker *marker, uint64_t *entry)
{
	struct gy_mark_queue *queue = &marker->queue;

	if (!refill_shared(marker) && !refill_own(queue)) /* the oldest first */
		return false;
	*entry = queue->out->entries[queue->out->first++];
	return true;
}

/* Shares `chunk` of the marker, which goes on with an empty one. [lock: mark] */
static bool share_own(struct gy_mark_chunk **chunk)
{
	struct gy_mark_chunk *fresh;

	if ((*chunk)->first == (*chunk)->end)
		return true;
	fresh = chunk_take();
	if (!fresh)
		return false;
	share(*chunk);
	*chunk = fresh;
	return true;
}

void gy_mark_share(struct gy_marker *marker)
{
	struct gy_mark_queue *queue = &marker->queue;
	struct gy_mark_chunk *in = queue->in, *out = queue->out, *fresh;
	uint32_t in_count = in->end - in->first, out_count = out->end - out->first, half;

	gy_lock_acquire(&mark.lock);
	if (in_count && out_count) {
		share_own(&queue->in);
	} else if (in_count + out_count >= 2 && (fresh = chunk_take())) {
		if (!in_count)
			in = out;
		half = (in->end - in->first) / 2;
		for (uint32_t i = 0; i < half; i++)
			fresh->entries[fresh->end++] = in->entries[in->first++];
		share(fresh);
	}
	gy_lock_release(&mark.lock);
	wake_sleepers();
}

/* ------------------------------------------------------------------ markers */

static struct gy_marker *marker_make(void)
{
	struct gy_marker *marker = gy_metadata_take(sizeof(*marker));
	struct gy_mark_chunk *in, *out;

	if (!marker)
		return NULL;
	in = gy_metadata_block_take(CHUNK_LOG2);
	out = in ? gy_metadata_block_take(CHUNK_LOG2) : NULL;
	if (!out) { /* the record itself is lost: it is small, and this is rare */
		if (in)
			gy_metadata_block_give(in, CHUNK_LOG2);
		return NULL;
	}
	in->first = in->end = out->first = out->end = 0;
	marker->queue = (struct gy_mark_queue){in, out};
	mark.chunks += 2;
	marker->next = mark.markers;
	__atomic_store_n(&mark.markers, marker, __ATOMIC_RELEASE);
	return marker;
}

/* [lock: mark] */
static void marker_put_back(struct gy_marker *marker)
{
	marker->next_free = mark.free_markers;
	mark.free_markers = marker;
}

/* Those that were given back with work in hand go first. [lock: mark] */
static struct gy_marker *take_locked(void)
{
	struct gy_marker **at = &mark.free_markers, *marker;

	if (unlikely(mark.stranded)) {
		while (!(*at)->busy)
			at = &(*at)->next_free;
		mark.stranded--;
	}
	marker = *at;
	if (marker)
		*at = marker->next_free;
	else
		marker = marker_make();
	if (!marker)
		return NULL;
	marker->taken = true;
	mark.taken++;
	count_hungry();
	return marker;
}

struct gy_marker *gy_marker_take(void)
{
	struct gy_marker *marker;

	gy_lock_acquire(&mark.lock);
	marker = take_locked();
	gy_lock_release(&mark.lock);
	return marker;
}

struct gy_marker *gy_marker_take_open(void)
{
	for (;;) {
		struct gy_marker *marker = NULL;
		bool closed;

		gy_lock_acquire(&mark.lock);
		closed = mark.closed;
		if (!closed)
			marker = take_locked();
		if (marker)
			set_busy(marker);
		gy_lock_release(&mark.lock);
		if (closed || marker)
			return marker;
		sched_yield(); /* those that others have come back */
	}
}

/* All that is in hand becomes shared. Where no chunk is to be had for it, the marker stays busy,
 * and is drained by whoever takes it next. */
void gy_marker_give(struct gy_marker *marker)
{
	bool empty;

	gy_lock_acquire(&mark.lock);
	empty = share_own(&marker->queue.out) && share_own(&marker->queue.in);
	if (marker->busy && empty) {
		marker->busy = false;
		mark.busy--;
	}
	mark.stranded += marker->busy;
	marker->taken = false;
	mark.taken--;
	marker_put_back(marker);
	count_hungry();
	gy_lock_release(&mark.lock);
	wake_sleepers();
}

/* ------------------------------------------------------------------ idle, open, closed */

static bool is_idle(void) /* [lock: mark] */
{
	return !mark.busy && nothing_shared();
}

bool gy_mark_quiet(uint64_t *activity)
{
	bool idle;

	gy_lock_acquire(&mark.lock);
	idle = is_idle();
	*activity = mark.activity;
	gy_lock_release(&mark.lock);
	return idle;
}

bool gy_mark_close(uint64_t activity)
{
	bool over;

	gy_lock_acquire(&mark.lock);
	over = is_idle() && mark.activity == activity;
	if (over)
		mark.closed = true;
	gy_lock_release(&mark.lock);
	return over;
}

void gy_mark_open(void)
{
	mark.closed = false; /* the world is stopped */
}

bool gy_mark_idle(void)
{
	uint64_t activity;

	return gy_mark_quiet(&activity);
}

bool gy_mark_has_work(void)
{
	return READ_RELAXED(gy_mark_shared.chunks) || READ_RELAXED(gy_mark_shared.pieces) ||
	       READ_RELAXED(gy_mark_overflowed);
}

bool gy_mark_wait(uint64_t timeout_ns)
{
	struct timespec time = {(time_t)(timeout_ns / 1000000000u),
				(long)(timeout_ns % 1000000000u)};
	uint32_t wakes = __atomic_load_n(&mark.wakes, __ATOMIC_SEQ_CST);

	__atomic_fetch_add(&mark.sleepers, 1, __ATOMIC_SEQ_CST);
	if (!gy_mark_has_work() && !gy_mark_idle())
		gy_sys_futex_wait(&mark.wakes, wakes, &time, false);
	__atomic_fetch_sub(&mark.sleepers, 1, __ATOMIC_SEQ_CST);
	return gy_mark_has_work();
}

void gy_mark_wake(void)
{
	wake_sleepers();
}

/* ------------------------------------------------------------------ begin, statistics, fork */

static void chunk_drop(struct gy_mark_chunk *chunk)
{
	for (uint32_t i = chunk->first; i < chunk->end; i++)
		WRITE_RELAXED(gy_gc_pages[(uint32_t)chunk->entries[i]].queued, 0);
	chunk->first = chunk->end = 0;
}

/* Empties every queue but those of markers that somebody has: whoever is late has an empty one, and
 * may be looking into it. [lock: mark] */
static void drop_all(void)
{
	struct gy_mark_chunk *chunk;

	while ((chunk = shared_take())) {
		chunk_drop(chunk);
		chunk_give(chunk);
	}
	for (struct gy_marker *marker = mark.markers; marker; marker = marker->next) {
		if (marker->taken)
			continue;
		chunk_drop(marker->queue.in);
		chunk_drop(marker->queue.out);
	}
	WRITE_RELAXED(gy_mark_shared.pieces, 0);
	WRITE_RELAXED(gy_mark_overflowed, 0); /* a late helper looks */
}

/* Since start. A marker's own numbers are never set back: who is late may still have it in
 * hand when the next cycle begins, and measures by them what it has done. */
GY_RACY_READER static void sum_stats(struct gy_mark_stats *stats)
{
	struct gy_marker *marker = __atomic_load_n(&mark.markers, __ATOMIC_ACQUIRE);

	*stats = (struct gy_mark_stats){0};
	for (; marker; marker = marker->next) {
		stats->scanned_bytes += READ_RELAXED(marker->stats.scanned_bytes);
		stats->scanned_objects += READ_RELAXED(marker->stats.scanned_objects);
		stats->marked_objects += READ_RELAXED(marker->stats.marked_objects);
		stats->marked_bytes += READ_RELAXED(marker->stats.marked_bytes);
	}
}

GY_RACY_READER void gy_mark_begin(void)
{
	struct gy_mark_chunk *chunk;

	sum_stats(&mark.before);
	gy_lock_acquire(&mark.lock);
	drop_all();
	for (struct gy_marker *marker = mark.markers; marker; marker = marker->next) {
		if (marker->busy && !marker->taken) { /* of a cycle that was given up */
			marker->busy = false;
			mark.busy--;
		}
	}
	mark.stranded = 0;
	count_hungry();
	while (mark.free_count > CHUNKS_KEPT) {
		chunk = mark.free;
		mark.free = chunk->next;
		mark.free_count--;
		mark.chunks--;
		gy_metadata_block_give(chunk, CHUNK_LOG2);
	}
	/* One for threads whose buffers are full, whatever the coordinator and its helpers take. */
	if (!mark.free_markers) {
		struct gy_marker *marker = marker_make();

		if (marker)
			marker_put_back(marker);
	}
	gy_lock_release(&mark.lock);
}

void gy_marker_read_stats(const struct gy_marker *marker, struct gy_mark_stats *stats)
{
	*stats = marker->stats;
}

void gy_mark_read_stats(struct gy_mark_stats *stats)
{
	sum_stats(stats);
	stats->scanned_bytes -= mark.before.scanned_bytes;
	stats->scanned_objects -= mark.before.scanned_objects;
	stats->marked_objects -= mark.before.marked_objects;
	stats->marked_bytes -= mark.before.marked_bytes;
}

void gy_mark_fork_prepare(void)
{
	gy_lock_acquire(&mark.lock);
}

void gy_mark_fork_parent(void)
{
	gy_lock_release(&mark.lock);
}

/* The child has the forking thread alone. The lock was held over fork: without it a chunk could be
 * found on two lists, or in a marker and on a list (QUEUE-1). What markers change without it, their
 * own two chunks, may be caught in the middle of being exchanged: those are given up. Markers that
 * other threads had are free again; what was half marked is the caller's to drop
 * (gy_cycle_fork_child). */
void gy_mark_fork_child(void)
{
	gy_lock_init(&mark.lock, GY_RANK_mark);
	for (struct gy_marker *marker = mark.markers; marker; marker = marker->next)
		marker->taken = false;
	drop_all();
	mark.free_markers = NULL;
	mark.taken = mark.busy = mark.stranded = 0;
	for (struct gy_marker *marker = mark.markers; marker; marker = marker->next) {
		marker->taken = marker->busy = false;
		marker->target_at = 0;
		memset(marker->targets, 0, sizeof(marker->targets));
		if (marker->queue.in && marker->queue.out && marker->queue.in != marker->queue.out)
			marker_put_back(marker);
	}
	count_hungry();
	mark.closed = true;
	mark.sleepers = 0;
}
