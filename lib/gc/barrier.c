/* barrier.c - keeping the snapshot while the program goes on changing it.
 *
 * Marking follows the graph as it was in the pause. A store may take away a pointer of that graph
 * before the marker has come by: so the store first hands the old pointer over. It need not look at
 * the new one (Yuasa 1990), nor at whether the object was scanned already.
 *
 *	gyre_set, idle:      nop; cmpl $0, gyre_gc_marking; jne slow; mov value, (slot)
 *	gyre_set, marking:   old = *slot; buffer[count] = old; count++; *slot = value
 *
 * Both are restartable sequences. A stop whose PC lies in one takes its thread back to the
 * sequence's start (gy_barrier_fixup, from the signal handler, for every frame of the thread): the
 * second has written nothing by then but a buffer entry, which is harmless twice; the first has
 * written nothing. Recognised are the second by its address, the inline ones by their nop, whose
 * operand spells "Gyre". Kernel restartable sequences (rseq) would do the same for the second; they
 * cannot be had inline without a thread pointer access and two more stores each time, and the
 * handler is there anyway. What plain code loses otherwise was counted: up to 5 stores in a hundred
 * stops.
 *
 * Why the second must not be cut by a pause either: appended in cycle N, whose buffers are thrown
 * away, and stored in cycle N + 1, the old pointer would have been handed over to nobody.
 *
 * ---- BAR-3: why idle markers and one look at each buffer are the end, and no handshake is needed
 *
 * gy_barrier_terminate does, in this order:
 *	t0  all markers idle; remember `activity`		(gy_mark_quiet)
 *	t1  look at each thread's buffer, under its lock; was anything white? Marked; not yet
 *	t2  still idle, `activity` the same; close		(gy_mark_close)
 *
 * Suppose that at t2 some object that the snapshot could reach is white. On its path from a root,
 * as it was in the snapshot, take the first white one, X. Its predecessor is no root: those were
 * marked in the pause, by what they then contained. So it is an object P with a field P.f that held
 * X in the snapshot, and P is not white. It is not grey, for all grey things are in a busy marker's
 * hands or shared (MARK-1, and "in a buffer" is what we come to now). So P was scanned, at a time
 * s. No marker was busy from t0 to t2 (any change to busy counts in `activity`), so s < t0. Had P.f
 * held X at s, X would be marked. So somebody had overwritten P.f before s; take the first such
 * store since the snapshot, by thread T. It found X, having read the field before it wrote, and
 * nobody having written in between. Which code was it?
 *  - gyre_set's inline store, having seen the flag at 0? The flag rose in the pause. T was not
 *    between test and store there (the fix-up), and later tests see 1.
 *  - The slow half: it wrote buffer entry X, then count, then P.f, in that order for every other
 *    CPU (BAR-2; x86 keeps the order of stores, and of loads, and a store seen by one CPU is seen
 *    by all). All three in this cycle: the pause falls between such sequences. The marker saw
 *    P.f's new value at s. So the entry was there at s, and is for whoever comes after s by any
 *    chain of locks: at t0 and t1.
 *  - Exchange and compare-and-swap (below): they shade what they expect, then replace it only if
 *    it is that. If shading came in this cycle: as above. If it came before the pause, or the flag
 *    was 0 then: X was in T's registers or stack throughout the pause, for the compare-and-swap
 *    that followed needed it: X was a root.
 * So X is an entry of T's buffer that was appended before s. Then either it is there at t1: X is
 * marked there, being white, and this try fails. Or T has flushed it meanwhile. A flush is busy
 * from before it takes the buffer's lock until all entries are marked and handed on. If it became
 * busy before t0, it was idle again at t0, so X was marked. If after t0, `activity` changed. If it
 * was refused (closed), then not in this cycle's marking. A thread that ends flushes too, and
 * leaves the list after that. In each case X is not white: contradiction.
 *
 * The attack that the look at `activity` parries: an entry is flushed between t0 and t1 and marks
 * A; an assist scans A, and finds A.f overwritten by a thread whose buffer was looked at just
 * before. Both buffers look harmless, all markers are idle again at t2, and the old A.f is lost.
 * The attack that compare-and-swap parries: an exchange leaves the old pointer in a register alone,
 * and the buffers are looked at before it is appended. (A handshake would not help: the thread can
 * be there for ever.) tests/model/collector.pml has both, and others, as mutants.
 *
 * And after t2? All that the snapshot could reach is marked, all else that can be reached is new
 * and black. Threads go on appending to their buffers until they see the flag down, and after: all
 * of it is marked, or of another cycle. It may be dropped, and it must be: a flush that was begun
 * with the flag up may be so late that its marks would fall on swept blocks, which would then be
 * black without having been scanned, in the next cycle. Hence BAR-5: closed is decided under the
 * lock under which one becomes busy; it is opened in a pause, where no thread is within a flush
 * (BUSY-1).
 *
 * Sources: Yuasa 1990; Dijkstra et al. 1978 for the form of the proof; Go's mbarrier.go and
 * mwbbuf.go. Not here: who calls gy_barrier_fixup (mutator/world.c), flag and phases (cycle.c).
 */
#include "gc/barrier.h"

#include "base/probe.h"
#include "gc/thread.h"
#include "heap/gate.h"
#include "os/sys.h"
#include "trace/events.h"

#include <gyre/gc.h>
#include <stddef.h>
#include <string.h>

_Static_assert(offsetof(struct gy_barrier, buffer) == 0, "as gy_barrier_step has them");
_Static_assert(offsetof(struct gy_barrier, count) == 8, "as gy_barrier_step has them");
_Static_assert(offsetof(struct gy_barrier, limit) == 16, "as gy_barrier_step has them");

/* The slow half's sequence. False: the buffer is full, or there is none; nothing was stored. */
bool gy_barrier_step(struct gy_barrier *barrier, void **slot, void *value) GY_HIDDEN;
extern const char gy_barrier_step_end[] GY_HIDDEN;

__asm__(".text\n"
	".p2align 4\n"
	".globl gy_barrier_step\n"
	".hidden gy_barrier_step\n"
	".type gy_barrier_step, @function\n"
	"gy_barrier_step:\n"
	".cfi_startproc\n"
	"	movq (%rsi), %rax\n"
	"	testq %rax, %rax\n"
	"	jz 1f\n"
	"	movl 8(%rdi), %ecx\n"
	"	cmpl 16(%rdi), %ecx\n"
	"	jae 2f\n"
	"	movq (%rdi), %r8\n"
	"	movq %rax, (%r8,%rcx,8)\n"
	"	incl %ecx\n"
	"	movl %ecx, 8(%rdi)\n"
	"1:	movq %rdx, (%rsi)\n"
	"gy_barrier_step_end:\n"
	"	movl $1, %eax\n"
	"	ret\n"
	"2:	xorl %eax, %eax\n"
	"	ret\n"
	".cfi_endproc\n"
	".size gy_barrier_step, . - gy_barrier_step\n"
	".globl gy_barrier_step_end\n"
	".hidden gy_barrier_step_end\n");

static uint64_t other_shades; /* [atomic: relaxed] of ended threads, and without a buffer */
static uint64_t other_hits;   /* [atomic: relaxed] of ended threads, and without a record */
static struct {
	struct gy_lock lock;
	void **first; /* [lock] buffers of threads that have ended; the first word leads on */
} spare = {.lock = GY_LOCK_INIT(GY_RANK_barrier)};

/* ------------------------------------------------------------------ buffers */

enum flush_reason { FLUSH_FULL, FLUSH_FETCHED, FLUSH_END }; /* as barrier_flush tells them */

static bool buffer_make(struct gy_barrier *barrier)
{
	void **buffer;

	gy_lock_acquire(&spare.lock);
	buffer = spare.first;
	if (buffer)
		spare.first = *buffer;
	gy_lock_release(&spare.lock);
	if (!buffer)
		buffer = gy_metadata_take(GY_BARRIER_SLOTS * sizeof(void *));
	if (!buffer)
		return false;
	barrier->buffer = buffer;
	barrier->limit = GY_BARRIER_SLOTS;
	return true;
}

/* Entries that nobody looked at yet; how many. [lock] */
static uint32_t hand_over(struct gy_barrier *barrier, struct gy_marker *marker)
{
	uint32_t count = __atomic_load_n(&barrier->count, __ATOMIC_ACQUIRE);
	uint32_t entries = count > barrier->drained ? count - barrier->drained : 0;

	if (entries)
		gy_mark_buffer(marker, barrier->buffer + barrier->drained, entries);
	barrier->drained = count;
	return entries;
}

/* The calling thread's buffer becomes empty. The marker is busy before the lock is taken: who holds
 * the lock and waits for markers does not wait for us. */
static void flush(struct gy_barrier *barrier, enum flush_reason reason)
{
	struct gy_marker *marker;
	uint32_t entries = 0;

	gy_hold_begin(); /* BUSY-1 */
	marker = gy_marker_take_open();
	gy_lock_acquire(&barrier->lock);
	if (marker) /* else BAR-5 */
		entries = hand_over(barrier, marker);
	WRITE_RELAXED(barrier->shades, barrier->shades + barrier->count);
	__atomic_store_n(&barrier->count, 0, __ATOMIC_RELAXED);
	barrier->drained = 0;
	gy_lock_release(&barrier->lock);
	if (marker)
		gy_marker_give(marker);
	gy_hold_end();
	if (entries)
		GY_PROBE2(barrier_flush, entries, reason);
}

/* Room for an entry, by emptying the buffer or making one. */
static GY_NOINLINE bool make_room(struct gy_barrier *barrier)
{
	if (!barrier->buffer)
		return buffer_make(barrier);
	flush(barrier, FLUSH_FULL);
	return true;
}

bool gy_barrier_shade(void *object)
{
	struct gy_marker *marker;

	gy_hold_begin();
	marker = gy_marker_take_open();
	if (marker) {
		gy_mark_word(marker, (uintptr_t)object);
		gy_marker_give(marker);
		ADD_RELAXED(other_shades, 1);
	}
	gy_hold_end();
	return marker != NULL;
}

/* Shades what compare-and-swap is about to take away, while marking. Without memory for a buffer,
 * or for the thread's record, it is marked at once. */
static void shade_expected(void *old)
{
	struct gy_gc_thread *thread = old ? gy_gc_thread() : NULL;
	struct gy_barrier *barrier = thread ? &thread->barrier : NULL;

	if (!old)
		return;
	while (unlikely(!thread || barrier->count >= barrier->limit)) {
		if (!thread || !make_room(barrier)) {
			gy_barrier_shade(old);
			return;
		}
	}
	barrier->buffer[barrier->count] = old;
	__atomic_store_n(&barrier->count, barrier->count + 1, __ATOMIC_RELEASE); /* BAR-2 */
}

/* ------------------------------------------------------------------ stores */

#define CALLER() ((uintptr_t)__builtin_return_address(0))

static bool is_marking(void)
{
	return __atomic_load_n(&gyre_gc_marking, __ATOMIC_ACQUIRE) != 0;
}

/* The record's bytes: of the object that is about to lose a pointer; 0: it is none. Its class: the
 * type of the object that the slot lies in. */
static GY_NOINLINE void record_hit(void **slot, uintptr_t caller_pc)
{
	const void *old = __atomic_load_n(slot, __ATOMIC_RELAXED);
	struct gy_object found;
	size_t bytes = 0;

	if (old && gy_object_find((uintptr_t)old, &found))
		bytes = gy_object_bytes(found);
	gy_events_record(GYRE_RECORD_BARRIER, gy_layout_type_number((uintptr_t)slot), slot, bytes,
			 caller_pc);
}

/* A store has come to the slow half. */
GY_INLINE void count_hit(struct gy_gc_thread *thread, void **slot, uintptr_t caller_pc)
{
	if (likely(thread != NULL))
		WRITE_RELAXED(thread->barrier.hits, thread->barrier.hits + 1);
	else
		ADD_RELAXED(other_hits, 1);
	if (unlikely(gy_gate_is_closed()))
		record_hit(slot, caller_pc);
}

static void *exchange(void **slot, void *value)
{
	void *old = __atomic_load_n(slot, __ATOMIC_SEQ_CST);

	do {
		if (is_marking())
			shade_expected(old);
	} while (!__atomic_compare_exchange_n(slot, &old, value, false, __ATOMIC_SEQ_CST,
					      __ATOMIC_SEQ_CST));
	return old;
}

void *gy_barrier_exchange(void **slot, void *value)
{
	if (is_marking())
		count_hit(gy_gc_thread(), slot, CALLER());
	return exchange(slot, value);
}

bool gy_barrier_compare_exchange(void **slot, void **expected, void *value)
{
	void *old = *expected; /* in this frame: a root, if a pause comes before the swap (BAR-3) */
	bool swapped;

	if (is_marking()) {
		count_hit(gy_gc_thread(), slot, CALLER());
		shade_expected(old);
	}
	swapped = __atomic_compare_exchange_n(slot, &old, value, false, __ATOMIC_SEQ_CST,
					      __ATOMIC_SEQ_CST);
	if (!swapped)
		*expected = old;
	return swapped;
}

GY_EXPORT void gyre_store_slow(void **slot, void *value)
{
	struct gy_gc_thread *thread = gy_gc_thread();

	count_hit(thread, slot, CALLER());
	while (unlikely(!thread || !gy_barrier_step(&thread->barrier, slot, value))) {
		if (!thread || !make_room(&thread->barrier)) {
			exchange(slot, value);
			return;
		}
	}
}

void gy_barrier_copy(void **to, void *const *from, size_t count)
{
	if ((uintptr_t)to - (uintptr_t)from >= count * sizeof(*to)) {
		for (size_t i = 0; i < count; i++)
			gyre_store_(&to[i], READ_RELAXED(from[i]));
	} else { /* overlaps, and to is behind from */
		for (size_t i = count; i--;)
			gyre_store_(&to[i], READ_RELAXED(from[i]));
	}
}

/* ------------------------------------------------------------------ the collector's side */

void gy_barrier_begin_cycle(void)
{
	for (struct gy_mutator *at = gy_mutators; at; at = at->next) {
		struct gy_gc_thread *thread = container_of(at, struct gy_gc_thread, mutator);

		thread->barrier.drained = READ_RELAXED(thread->barrier.count);
	}
	gy_mark_open();
}

bool gy_barrier_drain_all(struct gy_marker *marker)
{
	struct gy_mark_stats before, after;
	uint64_t entries = 0;

	gy_marker_read_stats(marker, &before);
	gy_lock_acquire(&gy_mutators_lock);
	for (struct gy_mutator *at = gy_mutators; at; at = at->next) {
		struct gy_gc_thread *thread = container_of(at, struct gy_gc_thread, mutator);

		gy_lock_acquire(&thread->barrier.lock);
		entries += hand_over(&thread->barrier, marker);
		gy_lock_release(&thread->barrier.lock);
	}
	gy_lock_release(&gy_mutators_lock);
	if (entries)
		GY_PROBE2(barrier_flush, entries, FLUSH_FETCHED);
	gy_marker_read_stats(marker, &after);
	return after.marked_objects != before.marked_objects;
}

bool gy_barrier_terminate(struct gy_marker *marker)
{
	uint64_t activity;

	return gy_mark_quiet(&activity) && !gy_barrier_drain_all(marker) && gy_mark_close(activity);
}

uint64_t gy_barrier_shades(void)
{
	uint64_t sum = READ_RELAXED(other_shades);

	gy_lock_acquire(&gy_mutators_lock);
	for (struct gy_mutator *at = gy_mutators; at; at = at->next) {
		struct gy_gc_thread *thread = container_of(at, struct gy_gc_thread, mutator);

		sum += READ_RELAXED(thread->barrier.shades) + READ_RELAXED(thread->barrier.count);
	}
	gy_lock_release(&gy_mutators_lock);
	return sum;
}

uint64_t gy_barrier_hits(void)
{
	uint64_t sum = READ_RELAXED(other_hits);

	gy_lock_acquire(&gy_mutators_lock);
	for (struct gy_mutator *at = gy_mutators; at; at = at->next)
		sum += READ_RELAXED(
			container_of(at, struct gy_gc_thread, mutator)->barrier.hits);
	gy_lock_release(&gy_mutators_lock);
	return sum;
}

void gy_barrier_thread_init(struct gy_barrier *barrier)
{
	memset(barrier, 0, sizeof(*barrier));
	gy_lock_init(&barrier->lock, GY_RANK_barrier);
}

void gy_barrier_thread_end(struct gy_barrier *barrier)
{
	ADD_RELAXED(other_hits, barrier->hits);
	barrier->hits = 0;
	if (!barrier->buffer)
		return;
	flush(barrier, FLUSH_END);
	ADD_RELAXED(other_shades, barrier->shades);
	barrier->shades = 0;
	gy_lock_acquire(&spare.lock);
	*barrier->buffer = spare.first;
	spare.first = barrier->buffer;
	gy_lock_release(&spare.lock);
	barrier->buffer = NULL;
	barrier->limit = 0;
}

/* ------------------------------------------------------------------ the fix-up */

#define SIGNATURE_BYTES 7u
#define SEQUENCE_MOST (SIGNATURE_BYTES + 9u + 6u) /* nop, cmpl, jne */
#define INSTRUCTION_MOST 9u			  /* cmpl */

static const uint8_t signature[SIGNATURE_BYTES] = {0x0f, 0x1f, 0x80, 0x47, 0x79, 0x72, 0x65};

/* Length of a memory operand that starts with this modrm byte, SIB and displacement included; 0: it
 * is none, or it does not fit. */
static unsigned operand_bytes(const uint8_t *modrm, const uint8_t *end)
{
	unsigned mode = *modrm >> 6, rm = *modrm & 7, bytes = 1;

	if (mode == 3)
		return 0;
	if (rm == 4) {
		if (modrm + 1 >= end)
			return 0;
		bytes = 2;
		if (mode == 0 && (modrm[1] & 7) == 5)
			bytes += 4;
	} else if (mode == 0 && rm == 5) {
		bytes += 4;
	}
	bytes += mode == 1 ? 1 : mode == 2 ? 4 : 0;
	return bytes;
}

/* Each: length of that instruction at `at`; 0: it is another. */
static unsigned cmpl_bytes(const uint8_t *at, const uint8_t *end) /* cmpl $imm8, memory */
{
	unsigned prefix = end - at > 1 && (*at & 0xf0) == 0x40, operand;

	at += prefix;
	if (end - at < 3 || at[0] != 0x83 || (at[1] >> 3 & 7) != 7)
		return 0;
	operand = operand_bytes(at + 1, end);
	return operand ? prefix + 1 + operand + 1 : 0;
}

static unsigned jne_bytes(const uint8_t *at, const uint8_t *end)
{
	if (end - at >= 2 && at[0] == 0x75)
		return 2;
	return end - at >= 6 && at[0] == 0x0f && at[1] == 0x85 ? 6 : 0;
}

static unsigned mov_bytes(const uint8_t *at, const uint8_t *end) /* movq register, memory */
{
	unsigned operand;

	if (end - at < 3 || (at[0] & 0xf8) != 0x48 || at[1] != 0x89)
		return 0;
	operand = operand_bytes(at + 2, end);
	return operand ? 2 + operand : 0;
}

/* Is pc the cmpl, jne or mov of the sequence whose nop is at `start`? */
static bool is_inside(const uint8_t *start, const uint8_t *pc, const uint8_t *end)
{
	static unsigned (*const shapes[])(const uint8_t *, const uint8_t *) = {
		cmpl_bytes,
		jne_bytes,
		mov_bytes,
	};
	const uint8_t *at = start + SIGNATURE_BYTES;

	for (unsigned i = 0; i < ARRAY_SIZE(shapes); i++) {
		unsigned bytes = shapes[i](at, end);

		if (!bytes || at > pc)
			return false;
		if (at == pc)
			return true;
		at += bytes;
	}
	return false;
}

uintptr_t gy_barrier_fixup(uintptr_t pc, uintptr_t text_low, uintptr_t text_high)
{
	uintptr_t step = (uintptr_t)gy_barrier_step;

	if (pc - step < (uintptr_t)gy_barrier_step_end - step)
		return step;
	if (pc < text_low || pc >= text_high)
		return 0;
	for (uintptr_t start = pc - SIGNATURE_BYTES;
	     start >= text_low && pc - start <= SEQUENCE_MOST; start--) {
		const uint8_t *bytes = (const uint8_t *)start;

		if (*bytes == signature[0] && !memcmp(bytes, signature, SIGNATURE_BYTES) &&
		    is_inside(bytes, (const uint8_t *)pc, (const uint8_t *)text_high))
			return start;
	}
	return 0;
}

/* An interrupted PC: its page can be read. The pages before and behind are asked for only if the
 * sequence could have begun in the one, or an instruction of it goes on in the other. */
static uintptr_t fixup_anywhere(uintptr_t pc)
{
	uintptr_t low = pc & ~(uintptr_t)4095, high = low + 4096;

	if (pc - low < SEQUENCE_MOST && gy_sys_readable((const void *)(low - 8)))
		low -= 4096;
	if (high - pc < INSTRUCTION_MOST && gy_sys_readable((const void *)high))
		high += 4096;
	return gy_barrier_fixup(pc, low, high);
}

int gy_barrier_init(void)
{
	gy_world_fixup = fixup_anywhere;
	return 0;
}

/* Another thread may have been in the midst of taking a spare one: those are given up. */
void gy_barrier_fork_child(void)
{
	gy_lock_init(&spare.lock, GY_RANK_barrier);
	spare.first = NULL;
}
