/* root_threads.c - what one stopped thread holds: registers, stacks, thread-local storage.
 *
 *	low                                                              high
 *	| guard | ... unused ...  [sp - 128 | frames | static TLS | struct pthread ]
 *	pthread_create's | ... unused ...  [sp - 128 | frames | arguments ]   ... [ static TLS |
 *	struct pthread ] main
 *
 * Which stack a thread is on is told by its stack pointer:
 *   - its own, whose bounds are the C library's record: asked once by a thread that uses the
 *   collector
 *     (gy_mutator_add), read out of its struct pthread where it does not;
 *   - the main thread's, known by its upper end;
 *   - its alternate signal stack: then a handler runs there, and the stack that it interrupted is
 *     scanned too, from the SP in the lowest signal frame of that handler;
 *   - any other: a coroutine's. It is scanned from the stack pointer to the end of its mapping (of
 *   its
 *     block, if malloc gave it), and the thread's own stack whole, for whatever waits there. What
 *     other coroutines hold that do not run just now nobody can tell: see gyre_gc(7).
 *
 * Vector registers hold pointers too (a compiler copies two at once), so what of them is in use is
 * scanned in the signal frame.
 *
 * Thread-local storage beyond the static block is found through the thread's dtv, an array of
 * blocks by module at the second word of its control block; values of pthread_setspecific lie in
 * struct pthread, from the 33rd key on in blocks that it points to. Their places in struct pthread
 * differ from version to version: they are found by what the thread that starts the collector knows
 * of itself (THREAD-1). Where they are not found, mappings are asked for in place of records, and
 * values of keys from the 33rd on must be rooted by the program.
 *
 * THREAD-1  An offset into struct pthread is believed only if it is the one place that holds the
 *           calling thread's own values; and in each thread the values read there must agree with
 *           its control block's address, or it is treated as if nothing were known.
 * THREAD-2  Blocks of malloc are scanned whole as the heap knows them, never by a length that the
 *           thread may have been changing when it was stopped. What is not ours is asked for page
 *           by page (GY_ROOT_CHECKED).
 * THREAD-3  Below the stack pointer a thread in a blocking region holds nothing: its stack pointer
 *           is that of a function which has called another, and such a one has no red zone. What
 *           lies there is of calls that have returned, and would hold what these had in hand for as
 *           long as the wait lasts.
 */
#include "gc/root_find.h"

#include "heap/span.h"
#include "os/loader.h"
#include "os/sys.h"

#include <pthread.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#define RED_ZONE_BYTES ((uintptr_t)128)
#define MAIN_STACK_MOST ((uintptr_t)96 << 20) /* the kernel keeps 128 MiB free for it */
#define PROBED_MOST ((uintptr_t)8 << 20)
#define UNKNOWN_STACK_MOST ((uintptr_t)64 << 20)
#define PTHREAD_BYTES ((size_t)2304) /* glibc 2.36; newer ones tell */
#define PTHREAD_BYTES_MOST ((size_t)8192)
#define SPECIFIC_FIRST_BYTES 512u /* 32 keys of two words in struct pthread, then pointers */
#define SPECIFIC_BLOCKS 32u
#define DTV_MODULES_MOST 4096u

/* Offsets into struct pthread; 0: not known. */
static struct {
	size_t bytes;    /* of struct pthread */
	size_t specific; /* pointers to blocks of keys; the first into struct pthread */
	size_t stack_block;  /* address, size, size of the guard, of pthread_create's mapping */
	uintptr_t main_high; /* upper end of the main thread's stack */
} known;

static bool is_within(uintptr_t address, uintptr_t low, uintptr_t high)
{
	return address - low < high - low;
}

/* ---- what the starting thread knows of itself ---- */

static void find_specific(const uintptr_t *self)
{
	size_t found = 0;

	for (size_t i = 64; i < known.bytes / sizeof(*self); i++)
		if (self[i] == (uintptr_t)(self + i) - SPECIFIC_FIRST_BYTES) {
			if (found)
				return;
			found = i * sizeof(*self);
		}
	if (found + SPECIFIC_BLOCKS * sizeof(*self) <= known.bytes)
		known.specific = found;
}

/* [const once set] By any thread but the main one. */
GY_ROOT_READER static void find_stack_block(const struct gy_mutator *mutator)
{
	const uintptr_t *self = (const uintptr_t *)mutator->fs_base;
	size_t found = 0;

	for (size_t i = 64; i + 2 < known.bytes / sizeof(*self); i++)
		if (self[i] + self[i + 1] == mutator->stack_high &&
		    self[i] + self[i + 2] == mutator->stack_low && self[i] % 4096 == 0) {
			if (found)
				return;
			found = i * sizeof(*self);
		}
	WRITE_RELAXED(known.stack_block, found);
}

void gy_root_threads_init(void)
{
	const uint32_t *told =
		gy_loader_symbol ? gy_loader_symbol(NULL, "_thread_db_sizeof_pthread") : NULL;

	known.bytes =
		told && *told > 1024 && *told <= PTHREAD_BYTES_MOST ? *told & ~7u : PTHREAD_BYTES;
	known.main_high = (uintptr_t)getauxval(AT_RANDOM);
	find_specific((const uintptr_t *)pthread_self());
}

/* ---- memory by address ---- */

/* The malloc'd block around `address`; false: none of ours. A stopped thread may be changing other
 * spans, but not this one: the block is in use. */
GY_ROOT_READER static bool find_block(uintptr_t address, uintptr_t *start, uintptr_t *end)
{
	const struct gy_span *span;
	uintptr_t base;
	size_t bytes;

	if (!gy_is_ours((const void *)address))
		return false;
	span = gy_span_of_page(gy_page_of((const void *)address));
	if (!span || !is_within(address, (uintptr_t)gy_span_start(span),
				(uintptr_t)gy_span_start(span) + gy_span_bytes(span)))
		return false;
	base = (uintptr_t)gy_span_start(span);
	if (span->kind == GY_SPAN_LARGE) {
		*start = base;
		*end = base + gy_span_bytes(span);
		return true;
	}
	if (span->kind != GY_SPAN_SMALL)
		return false;
	bytes = gy_size_classes[span->class_index].bytes;
	*start = base + (address - base) / bytes * bytes;
	*end = *start + bytes;
	return true;
}

/* Adds a block that `pointer` points to, of at most `bytes` if it is not ours (THREAD-2). */
static void add_block(uintptr_t pointer, size_t bytes)
{
	uintptr_t start, end;

	if (find_block(pointer, &start, &end))
		gy_root_add(start, end, GY_ROOT_DATA, 0);
	else if (!gy_is_ours((const void *)pointer) && pointer >= GY_KERNEL_PAGE_BYTES &&
		 pointer < (uintptr_t)1 << 47)
		gy_root_add(pointer, pointer + bytes, GY_ROOT_CHECKED, 0);
}

/* Can all pages of [low, high) be read? */
static bool is_readable(uintptr_t low, uintptr_t high)
{
	for (low &= ~(GY_KERNEL_PAGE_BYTES - 1); low < high; low += GY_KERNEL_PAGE_BYTES)
		if (!gy_page_is_readable(low))
			return false;
	return true;
}

/* ---- the stack ---- */

/* Does the C library know this thread? Its control block begins with its own address. One that
 * uses the collector has used it: the kernel need not be asked. */
GY_ROOT_READER static bool is_control_block(const struct gy_stopped_thread *thread)
{
	uintptr_t base = thread->fs_base;
	const uintptr_t *words = (const uintptr_t *)base;
	bool known_readable = thread->mutator && thread->mutator->fs_base == base;

	return base && (known_readable || gy_page_is_readable(base)) && words[0] == base &&
	       words[2] == base;
}

struct bounds {
	uintptr_t low, high; /* of the thread's own stack; low 0: only the upper end is known */
};

/* Of pthread_create's threads, what struct pthread says of the mapping. */
GY_ROOT_READER static bool read_stack_block(uintptr_t fs_base, struct bounds *own)
{
	size_t at = READ_RELAXED(known.stack_block);
	const uintptr_t *words = (const uintptr_t *)(fs_base + at);

	if (!at)
		return false;
	own->low = words[0] + words[2];
	own->high = words[0] + words[1];
	return words[0] && words[0] % GY_KERNEL_PAGE_BYTES == 0 && words[2] < words[1] &&
	       is_within(fs_base, own->low, own->high); /* THREAD-1 */
}

static void find_own(const struct gy_stopped_thread *thread, struct bounds *own)
{
	const struct gy_mutator *mutator = thread->mutator;

	if (mutator && mutator->stack_low) {
		if (!READ_RELAXED(known.stack_block))
			find_stack_block(mutator);
		*own = (struct bounds){mutator->stack_low, mutator->stack_high};
	} else if (thread->tid == getpid()) {
		*own = (struct bounds){0, known.main_high};
	} else if (is_control_block(thread) && read_stack_block(thread->fs_base, own)) {
		return;
	} else if (thread->sp < thread->fs_base && thread->fs_base - thread->sp < PROBED_MOST &&
		   is_readable(thread->sp, thread->fs_base)) {
		/* One of the C library's of which nothing is known but where it ends. */
		*own = (struct bounds){thread->sp, thread->fs_base};
	}
}

/* Any other stack: the end of the memory from sp on that may be a stack's. */
static uintptr_t unknown_stack_end(uintptr_t sp)
{
	const struct gy_maps *maps;
	uintptr_t start, end;

	if (find_block(sp, &start, &end))
		return end;
	maps = gy_root_maps();
	if (maps)
		return MIN(gy_maps_stack_end(maps, sp), sp + UNKNOWN_STACK_MOST);
	end = (sp | (GY_KERNEL_PAGE_BYTES - 1)) + 1;
	while (end - sp < PROBED_MOST && gy_page_is_readable(end))
		end += GY_KERNEL_PAGE_BYTES;
	return end;
}

/* Where the main thread's stack begins; its upper end where that cannot be told. */
static uintptr_t main_stack_low(uintptr_t high)
{
	const struct gy_maps *maps = gy_root_maps();
	const struct gy_mapping *mapping = maps ? gy_maps_find(maps, high - 1) : NULL;

	return mapping ? mapping->start : high;
}

/* ---- signal frames ---- */

/* In a signal frame the general registers end in SP, PC, flags, and four selectors of 16 bits: of
 * the code, two that the kernel leaves 0, and of the stack. Hardly anything else looks like these
 * four. */
#define SELECTORS 0xffffffffffffu
#define CODE_SELECTOR 0x33u
#define FLAGS_ALWAYS 0x202u /* bit 1, and interrupts on */
#define FLAGS_NEVER 0xffffffffffc08028u

GY_ROOT_READER static bool is_frame(const uintptr_t *pc)
{
	return (pc[2] & SELECTORS) == CODE_SELECTOR && (pc[1] & FLAGS_ALWAYS) == FLAGS_ALWAYS &&
	       !(pc[1] & FLAGS_NEVER);
}

static bool is_on(const struct gy_root_stack *stack, uintptr_t sp)
{
	for (unsigned i = 0; i < stack->count; i++)
		if (is_within(sp, stack->low[i], stack->high[i]))
			return true;
	return false;
}

GY_ROOT_READER void gy_root_fix_frames(uintptr_t start, uintptr_t end,
				       const struct gy_root_stack *stack)
{
	uintptr_t high = end;
	uintptr_t *at;

	for (unsigned i = 0; i < stack->count; i++) /* frames go on behind the piece */
		if (is_within(start + RED_ZONE_BYTES, stack->low[i], stack->high[i]))
			high = stack->high[i];
	for (at = (uintptr_t *)start + 1; (uintptr_t)at <= end && (uintptr_t)(at + 3) <= high;
	     at++) {
		uintptr_t to;

		if (likely(!is_frame(at)) || !is_on(stack, at[-1]) || !gy_world_fixup ||
		    *at >= (uintptr_t)1 << 47 || !gy_page_is_readable(*at))
			continue;
		to = gy_world_fixup(*at);
		if (to)
			*at = to;
	}
}

/* A signal stack is in use from `sp` up. The SP saved in the outermost frame on it: there the
 * thread was when a signal brought it here. 0: there is none. */
GY_ROOT_READER static uintptr_t saved_sp(uintptr_t sp, uintptr_t low, uintptr_t high)
{
	uintptr_t found = 0;

	for (uintptr_t *at = (uintptr_t *)(sp & ~(uintptr_t)7) + 1; (uintptr_t)(at + 3) <= high;
	     at++)
		if (is_frame(at) && !is_within(at[-1], low, high))
			found = at[-1];
	return found && gy_page_is_readable(found) ? found : 0;
}

/* ---- stacks, together ---- */

static bool is_on_own(uintptr_t sp, const struct bounds *own)
{
	if (own->low)
		return is_within(sp, own->low, own->high);
	return own->high && own->high - sp < MAIN_STACK_MOST;
}

static void add_stretch(struct gy_root_stack *stack, uint32_t number, uintptr_t sp, uintptr_t high,
			uintptr_t red_zone_bytes)
{
	uintptr_t low = sp - red_zone_bytes;

	if (sp >= high)
		return;
	stack->low[stack->count] = sp;
	stack->high[stack->count++] = high;
	if ((low ^ sp) & ~(GY_KERNEL_PAGE_BYTES - 1) && !gy_page_is_readable(low))
		low = sp & ~(GY_KERNEL_PAGE_BYTES - 1);
	gy_root_add(low, high, GY_ROOT_STACK, number);
}

/* Nothing tells how far the thread's own stack is in use: all of it that was ever touched. */
static void add_whole(struct gy_root_stack *stack, uint32_t number, const struct bounds *own)
{
	uintptr_t low = own->low ? own->low : main_stack_low(own->high);

	low = gy_pages_touched_from(low, own->high);
	if (low < own->high)
		add_stretch(stack, number, low, own->high, RED_ZONE_BYTES);
}

/* *own_high: upper end of the thread's own stack, which has been added up to there; 0: not
 * known. */
static bool find_stacks(const struct gy_stopped_thread *thread, uintptr_t *own_high)
{
	uintptr_t sp = thread->sp, red_zone_bytes = thread->blocked ? 0 : RED_ZONE_BYTES;
	struct bounds own = {0, 0};
	struct gy_root_stack *stack;
	uint32_t number;

	find_own(thread, &own);
	*own_high = own.high;
	stack = gy_root_stack_new(&number);
	if (!stack)
		return false;
	if (is_within(sp, thread->signal_stack_low, thread->signal_stack_high)) {
		add_stretch(stack, number, sp, thread->signal_stack_high, red_zone_bytes);
		sp = saved_sp(sp, thread->signal_stack_low, thread->signal_stack_high);
	}
	if (sp && is_on_own(sp, &own)) {
		add_stretch(stack, number, sp, own.high, red_zone_bytes);
		return true;
	}
	if (sp)
		add_stretch(stack, number, sp, unknown_stack_end(sp), red_zone_bytes);
	if (own.high)
		add_whole(stack, number, &own);
	return true;
}

/* ---- registers ---- */

#define XSAVE_SSE_OFFSET 160u
#define XSAVE_SSE_BYTES 256u
#define XSAVE_HEADER_OFFSET 512u
#define XSAVE_AVX_OFFSET 576u
#define XSAVE_AVX_BYTES 256u
#define XSAVE_SOFTWARE_OFFSET 464u
#define XSAVE_MAGIC 0x46505853u
#define XSAVE_BYTES_MOST 4096u /* not the tiles of AMX: no compiler keeps pointers there */

struct xsave_software { /* struct _fpx_sw_bytes of the kernel's interface */
	uint32_t magic, extended_bytes;
	uint64_t components;
	uint32_t bytes;
};

GY_ROOT_READER static void add_vectors(const char *area)
{
	uintptr_t start = (uintptr_t)area;
	struct xsave_software software;
	uint64_t in_use;

	memcpy(&software, area + XSAVE_SOFTWARE_OFFSET, sizeof(software));
	if (software.magic != XSAVE_MAGIC) {
		gy_root_add(start + XSAVE_SSE_OFFSET, start + XSAVE_SSE_OFFSET + XSAVE_SSE_BYTES,
			    GY_ROOT_DATA, 0);
		return;
	}
	/* What is in its initial state, all zeroes, the processor does not write. */
	memcpy(&in_use, area + XSAVE_HEADER_OFFSET, sizeof(in_use));
	in_use &= software.components;
	if (in_use & 2)
		gy_root_add(start + XSAVE_SSE_OFFSET, start + XSAVE_SSE_OFFSET + XSAVE_SSE_BYTES,
			    GY_ROOT_DATA, 0);
	if (in_use & 4)
		gy_root_add(start + XSAVE_AVX_OFFSET, start + XSAVE_AVX_OFFSET + XSAVE_AVX_BYTES,
			    GY_ROOT_DATA, 0);
	if (in_use & 0xe0) /* AVX-512 */
		gy_root_add(start + XSAVE_AVX_OFFSET + XSAVE_AVX_BYTES,
			    start + MIN(software.bytes, XSAVE_BYTES_MOST), GY_ROOT_DATA, 0);
}

/* ---- thread-local storage ---- */

/* THREAD-2: the array may be of before, and its blocks may have gone. */
GY_ROOT_READER static void add_dynamic_tls(uintptr_t fs_base, uintptr_t static_low)
{
	const uintptr_t *dtv = (const uintptr_t *)((const uintptr_t *)fs_base)[1];
	uintptr_t start, end = 0;
	size_t count;

	if (!dtv || (uintptr_t)dtv % sizeof(*dtv) || (uintptr_t)dtv >= (uintptr_t)1 << 47)
		return;
	if (!find_block((uintptr_t)dtv, &start, &end) && !gy_page_is_readable((uintptr_t)(dtv - 2)))
		return;
	count = MIN(dtv[-2], (uintptr_t)DTV_MODULES_MOST);
	for (size_t i = 1; i <= count; i++) {
		const uintptr_t *entry = dtv + 2 * i;

		if (end ? (uintptr_t)(entry + 2) > end
			: (uintptr_t)entry % GY_KERNEL_PAGE_BYTES < 2 * sizeof(*entry) &&
				    !gy_page_is_readable((uintptr_t)entry))
			return;
		/* -1: not made yet. In the static block: scanned with it. */
		if (!entry[0] || entry[0] == UINTPTR_MAX ||
		    is_within(entry[0], static_low, fs_base))
			continue;
		add_block(entry[0], gy_root_tls_block_most());
	}
}

GY_ROOT_READER static void add_specific(uintptr_t fs_base)
{
	const uintptr_t *blocks = (const uintptr_t *)(fs_base + known.specific);

	if (!known.specific || blocks[0] != (uintptr_t)blocks - SPECIFIC_FIRST_BYTES)
		return; /* THREAD-1 */
	for (unsigned i = 1; i < SPECIFIC_BLOCKS; i++)
		if (blocks[i])
			add_block(blocks[i], SPECIFIC_FIRST_BYTES);
}

static void find_tls(const struct gy_stopped_thread *thread, uintptr_t stack_high)
{
	uintptr_t fs_base = thread->fs_base, low = fs_base - gy_root_tls_static_most();

	if (!is_control_block(thread))
		return;
	/* pthread_create's lies at the upper end of the stack, and was added with it. */
	if (fs_base > stack_high || stack_high - fs_base > PTHREAD_BYTES_MOST * 2)
		gy_root_add(low, fs_base + known.bytes, GY_ROOT_CHECKED, 0);
	else if (fs_base == stack_high)
		gy_root_add(fs_base, fs_base + known.bytes, GY_ROOT_CHECKED, 0);
	add_dynamic_tls(fs_base, low);
	add_specific(fs_base);
}

GY_ROOT_READER void gy_root_thread_ahead(const struct gy_stopped_thread *thread)
{
	uintptr_t base = thread->fs_base;

	__builtin_prefetch((const void *)base);
	__builtin_prefetch((const void *)(base + READ_RELAXED(known.stack_block)));
	for (size_t at = 0; at < SPECIFIC_BLOCKS * sizeof(uintptr_t); at += 64)
		__builtin_prefetch((const void *)(base + known.specific + at));
}

GY_ROOT_READER void gy_root_thread_find(const struct gy_stopped_thread *thread)
{
	struct gy_stopped_thread copy = *thread; /* it lies on a stack of others */
	uintptr_t high;

	if (copy.registers)
		gy_root_add((uintptr_t)copy.registers,
			    (uintptr_t)(copy.registers + copy.register_count), GY_ROOT_DATA, 0);
	if (copy.vectors)
		add_vectors(copy.vectors);
	if (find_stacks(&copy, &high))
		find_tls(&copy, high);
}
