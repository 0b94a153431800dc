/* unwind.c - walking the stack; see unwind.h.
 *
 * A frame is left by its rule (rule_cache.h), which says what nearly all frames need: CFA = rsp +
 * n, rbp + n, or *(rbp + n) (realigned stacks); return address at CFA - 8; rbp kept, or saved at
 * CFA - 8m. Frames that need more are slow, and interpreted each time: signal frames, PLT stubs,
 * the loader's resolver.
 *
 * Fast and full. Only rsp, rbp and the pc are tracked at first. If a frame turns out to need
 * another register (the loader's lazy resolver: CFA = rbx + n), the walk starts again with all
 * callee-saved registers, interpreting every frame (CFI-3). Rare, so the price does not matter.
 *
 * Known stacks. Crossing into another page of a stack costs a system call (stack_window.h), unless
 * it is the thread's own stack and a walk has reached its outermost frame before: learn_stack.
 *
 * The pc of a frame is a return address, which may be one past a call that never returns and so in
 * the next function: what is looked up is pc - 1. Behind a signal frame the pc is exact.
 */
#include "trace/unwind.h"

#include "base/config.h"
#include "os/sys.h"
#include "trace/cfi.h"
#include "trace/loaded_object.h"
#include "trace/rule_cache.h"
#include "trace/stack_memo.h"
#include "trace/stack_window.h"

#include <errno.h>
#include <string.h>
#include <sys/auxv.h>

#define PC_MINIMUM 4096u                /* nothing is mapped below */
#define PC_MAXIMUM ((uintptr_t)1 << 56) /* user addresses end below, five-level tables included */
#define FRAME_BYTES_MAX ((uintptr_t)16 << 20) /* a frame pointer further up is garbage */
#define OBJECTS 2u                            /* remembered within a walk */
#define LEARN_FRAMES 256u /* how far beyond the capacity the outermost one is sought */
#define LEARN_TRIES 4u
#define LEARN_BYTES_MAX ((uintptr_t)8 << 20)
#define ARGUMENT_BYTES_MAX ((uintptr_t)8 << 20)    /* above the first frame of the main thread */
#define THREAD_TOP_BYTES_MAX ((uintptr_t)64 << 10) /* TLS above the first frame of another */

enum stack_option { STACK_AUTO, STACK_FRAME_POINTER, STACK_UNWIND };

_Static_assert(GY_STACK_OFF == STACK_UNWIND + 1, "the words in options.def");

__thread struct gy_thread_stack gy_thread_stack GY_TLS_INITIAL_EXEC;

struct walk {
	struct gy_cfi_registers registers;
	struct gy_stack_window window;
	struct gy_loaded_object object; /* the one that held the last pc */
	struct gy_loaded_object seen[OBJECTS];
	unsigned seen_next;
	struct gy_rule_path *path; /* rules of walks that began as this one */
	unsigned path_next;
	enum stack_option option;
	bool exact;       /* the pc is not a return address */
	bool full;        /* all callee-saved registers are tracked, no cache */
	bool met;         /* caller_pc was passed */
	bool interrupted; /* a signal frame was passed: the stack may be another */
	uintptr_t caller_pc;
	uintptr_t *frames;
	uintptr_t rbp_slot; /* where rbp was loaded from; 0: it is the one the walk began with */
	struct gy_stack_trail trail;
	unsigned capacity, depth;
};

/* What a step returns: 0, go on; or why the walk ends. -ENOENT: this was the outermost frame;
 * -EAGAIN: walk again, in full; -ENODATA: no table; -EINVAL: no sense in it. */
enum { WALK_ON = 0, WALK_FULL = 1 /* or at a pc that is none */ };

#define FAST_VALID (GY_CFI_BIT(GY_CFI_RSP) | GY_CFI_BIT(GY_CFI_RBP) | GY_CFI_BIT(GY_CFI_RIP))

/* Makes walk->object the one that holds `lookup`; a walk goes to and fro between a few. */
static GY_NOINLINE void see_object_slow(struct walk *walk, uintptr_t lookup)
{
	for (unsigned i = 0; i < OBJECTS; i++) {
		if (gy_loaded_object_holds(&walk->seen[i], lookup)) {
			walk->object = walk->seen[i];
			return;
		}
	}
	if (gy_loaded_object_find(lookup, &walk->object))
		walk->seen[walk->seen_next++ % OBJECTS] = walk->object;
}

GY_INLINE void see_object(struct walk *walk, uintptr_t lookup)
{
	if (unlikely(!gy_loaded_object_holds(&walk->object, lookup)))
		see_object_slow(walk, lookup);
}

static bool plausible_pc(uint64_t pc)
{
	return pc >= PC_MINIMUM && pc < PC_MAXIMUM;
}

/* A frame's place depends on rbp: the memo must know which word that came from. */
GY_INLINE void use_rbp(struct walk *walk)
{
	if (walk->rbp_slot)
		gy_stack_trail_anchor(&walk->trail, walk->rbp_slot);
}

/* Leaves the frame by its frame pointer: [rbp] is the caller's, [rbp + 8] the return address. */
static int step_frame_pointer(struct walk *walk)
{
	uint64_t *value = walk->registers.value;
	uint64_t frame = value[GY_CFI_RBP], next, pc;
	bool known = walk->object.start != walk->object.end;
	struct gy_loaded_object caller = walk->object;

	if (!(walk->registers.valid & GY_CFI_BIT(GY_CFI_RBP)) || frame < value[GY_CFI_RSP] ||
	    frame - value[GY_CFI_RSP] > FRAME_BYTES_MAX ||
	    !gy_stack_window_read(&walk->window, frame, &next) ||
	    !gy_stack_window_read(&walk->window, frame + 8, &pc) || !plausible_pc(pc))
		return -EINVAL;
	if (!gy_loaded_object_holds(&caller, pc - 1) && !gy_loaded_object_find(pc - 1, &caller)) {
		/* Into code that no object holds: believed only from such code, or with a sane
		 * chain. */
		bool sane = next > frame && next - frame <= FRAME_BYTES_MAX && !(next & 7);

		if (known && !sane)
			return -EINVAL;
	}
	walk->object = caller;
	use_rbp(walk);
	walk->rbp_slot = frame;
	value[GY_CFI_RSP] = frame + 16;
	value[GY_CFI_RBP] = next;
	value[GY_CFI_RIP] = pc;
	walk->registers.valid &= FAST_VALID;
	walk->exact = false;
	return WALK_ON;
}

/* Leaves the frame by interpreting its row. */
static GY_NOINLINE int step_slow(struct walk *walk, uintptr_t lookup)
{
	struct gy_cfi_entry entry;
	struct gy_cfi_row row;
	int error;

	if (gy_cfi_find(&walk->object, lookup, &entry) || gy_cfi_row(&entry, lookup, &row))
		return walk->option == STACK_UNWIND ? -ENODATA : step_frame_pointer(walk);
	walk->trail.kept = false; /* MEMO-3 */
	error = gy_cfi_step(&entry, &row, &walk->registers, &walk->window);
	if (!error) {
		walk->exact = entry.signal_frame;
		walk->interrupted |= entry.signal_frame;
	}
	return error;
}

/* Leaves the frame by a compact rule of the three simple kinds. */
static int step_fast(struct walk *walk, struct gy_rule rule)
{
	uint64_t *value = walk->registers.value;
	uint64_t cfa, pc, rbp = value[GY_CFI_RBP], saved = 0;

	if (!(walk->registers.valid & GY_CFI_BIT(GY_CFI_RBP)) && rule.kind != GY_RULE_RSP)
		return -EAGAIN;
	cfa = (rule.kind == GY_RULE_RSP ? value[GY_CFI_RSP] : rbp) +
	      (uint64_t)(int64_t)rule.cfa_offset;
	if (rule.kind == GY_RULE_AT_RBP && !gy_stack_window_read(&walk->window, cfa, &cfa))
		return -EINVAL;
	if (cfa <= value[GY_CFI_RSP] || !gy_stack_window_read(&walk->window, cfa - 8, &pc))
		return -EINVAL; /* UNWIND-2 */
	if (rule.kind == GY_RULE_AT_RBP)
		saved = rbp + (uint64_t)((int64_t)rule.rbp_words * 8);
	else if (rule.rbp_words)
		saved = cfa + (uint64_t)((int64_t)rule.rbp_words * 8);
	if (saved && !gy_stack_window_read(&walk->window, saved, &rbp))
		return -EINVAL;
	if (rule.kind != GY_RULE_RSP)
		use_rbp(walk);
	if (rule.kind == GY_RULE_AT_RBP)
		gy_stack_trail_anchor(&walk->trail,
				      value[GY_CFI_RBP] + (uint64_t)(int64_t)rule.cfa_offset);
	if (saved)
		walk->rbp_slot = saved;
	value[GY_CFI_RSP] = cfa;
	value[GY_CFI_RBP] = rbp;
	value[GY_CFI_RIP] = pc;
	/* A saved rbp is known again, even if this frame's was not. */
	walk->registers.valid =
		(walk->registers.valid & FAST_VALID) | (saved ? GY_CFI_BIT(GY_CFI_RBP) : 0);
	walk->exact = false;
	return WALK_ON;
}

static int step(struct walk *walk)
{
	uintptr_t lookup = walk->registers.value[GY_CFI_RIP] - !walk->exact;
	struct gy_rule rule;

	see_object(walk, lookup);
	if (!GY_UNWIND_TABLES || (walk->met && walk->option == STACK_FRAME_POINTER))
		return step_frame_pointer(walk);
	if (walk->full)
		return step_slow(walk, lookup);
	if (!gy_rule_find(&walk->object, lookup, &rule))
		rule = gy_rule_make(&walk->object, lookup);
	switch ((enum gy_rule_kind)rule.kind) {
	case GY_RULE_RSP:
	case GY_RULE_RBP:
	case GY_RULE_AT_RBP:
		return step_fast(walk, rule);
	case GY_RULE_SLOW:
		return step_slow(walk, lookup);
	case GY_RULE_NO_TABLE:
		return walk->option == STACK_UNWIND ? -ENODATA : step_frame_pointer(walk);
	case GY_RULE_NONE:
	case GY_RULE_END:
		break;
	}
	return -ENOENT;
}

/* Does `pc` lie in this library, and malloc's caller elsewhere? Never in a static program. */
static bool is_own_frame(const struct walk *walk, uintptr_t pc)
{
	static uintptr_t start, end; /* [atomic: relaxed; end last] the same whoever finds them */
	struct gy_loaded_object own;

	if (unlikely(!READ_RELAXED(end))) {
		if (!gy_loaded_object_find((uintptr_t)gy_stack_walk, &own))
			return false;
		WRITE_RELAXED(start, own.start);
		__atomic_store_n(&end, own.end, __ATOMIC_RELEASE);
	}
	own.end = __atomic_load_n(&end, __ATOMIC_ACQUIRE);
	own.start = READ_RELAXED(start);
	return gy_loaded_object_holds(&own, pc) && !gy_loaded_object_holds(&own, walk->caller_pc);
}

/* Keeps the pc that a step arrived at; false when the frames are full. */
GY_INLINE bool record(struct walk *walk)
{
	uintptr_t pc = walk->registers.value[GY_CFI_RIP];

	if (!walk->met && pc == walk->caller_pc) {
		walk->met = true;
		walk->depth = 1;
		walk->trail.slots[0] = walk->registers.value[GY_CFI_RSP] - 8;
		return walk->capacity > 1;
	}
	/* Until caller_pc is met, what is recorded counts only if it never will be. */
	if (!walk->met) {
		gy_stack_trail_anchor(&walk->trail, walk->registers.value[GY_CFI_RSP] - 8);
		if (is_own_frame(walk, pc))
			return true;
	}
	if (walk->depth < walk->capacity) {
		walk->trail.slots[walk->depth % GY_STACK_MEMO_FRAMES] =
			walk->registers.value[GY_CFI_RSP] - 8;
		walk->frames[walk->depth++] = pc;
	}
	return !walk->met || walk->depth < walk->capacity;
}

/* A rule from the walk's path, or from the cache; then the path has it the next time. */
GY_INLINE bool find_warm_rule(struct walk *walk, uintptr_t lookup, struct gy_rule *rule)
{
	struct gy_rule_path *entry = &walk->path[walk->path_next++ % GY_RULE_PATH_FRAMES];

	if (likely(gy_rule_path_find(entry, lookup, rule)))
		return true;
	see_object(walk, lookup);
	if (!gy_rule_find(&walk->object, lookup, rule))
		return false;
	if (walk->object.permanent)
		gy_rule_path_put(entry, lookup, *rule); /* RULE-2 */
	return true;
}

/* The common case as a tight loop: frames whose rule is in the cache and simple, on pages already
 * proven. Leaves off before the first frame that is anything else; `steps` counts down. */
static int run_warm(struct walk *walk, unsigned *steps)
{
	const uintptr_t low = walk->window.low, bytes = walk->window.high - low;
	uint64_t *value = walk->registers.value;
	struct gy_rule rule;

	while (*steps) {
		uintptr_t lookup = value[GY_CFI_RIP] - !walk->exact, cfa, saved;

		if (!find_warm_rule(walk, lookup, &rule))
			break;
		if (unlikely(rule.kind > GY_RULE_RBP)) {
			if (rule.kind == GY_RULE_END)
				return -ENOENT;
			break;
		}
		cfa = value[rule.kind == GY_RULE_RSP ? GY_CFI_RSP : GY_CFI_RBP] +
		      (uint64_t)(int64_t)rule.cfa_offset;
		saved = cfa + (uint64_t)((int64_t)rule.rbp_words * 8);
		/* UNWIND-2, WINDOW-1: above sp, aligned, and both words inside the window */
		if (cfa <= value[GY_CFI_RSP] || (cfa & 7) || cfa - 8 - low >= bytes ||
		    saved > cfa || saved < low)
			break;
		if (rule.kind == GY_RULE_RBP)
			use_rbp(walk);
		value[GY_CFI_RSP] = cfa;
		value[GY_CFI_RIP] = gy_stack_word(cfa - 8);
		if (rule.rbp_words) {
			value[GY_CFI_RBP] = gy_stack_word(saved);
			walk->rbp_slot = saved;
		}
		walk->exact = false;
		--*steps;
		if (!plausible_pc(value[GY_CFI_RIP]) || !record(walk))
			return WALK_FULL;
		if (walk->met && walk->option == STACK_FRAME_POINTER)
			break;
	}
	return WALK_ON;
}

static bool may_run_warm(const struct walk *walk)
{
	return GY_UNWIND_TABLES && !walk->full && walk->registers.valid == FAST_VALID &&
	       !(walk->met && walk->option == STACK_FRAME_POINTER);
}

static int run(struct walk *walk)
{
	unsigned steps = walk->capacity + GY_UNWIND_OWN_FRAMES; /* UNWIND-2 */
	int error = WALK_ON;

	while (steps) {
		uint64_t sp;

		if (may_run_warm(walk)) {
			error = run_warm(walk, &steps);
			if (error)
				return error;
		}
		sp = walk->registers.value[GY_CFI_RSP];
		if (!steps)
			break;
		steps--;
		error = step(walk);
		if (error)
			break;
		INVARIANT(UNWIND_2, walk->exact || walk->registers.value[GY_CFI_RSP] > sp);
		if (!plausible_pc(walk->registers.value[GY_CFI_RIP]) || !record(walk))
			return WALK_FULL;
	}
	return error;
}

static uintptr_t thread_pointer(void)
{
#if defined(__x86_64__)
	uintptr_t pointer;

	__asm__("movq %%fs:0, %0" : "=r"(pointer));
	return pointer;
#else
	return (uintptr_t)__builtin_thread_pointer();
#endif
}

/* Is `sp`, of an outermost frame, near the top of the thread's own stack? Above it lie the
 * arguments of the program (AT_RANDOM's bytes are among them), or the thread's TLS and its
 * descriptor. The outermost frame of a coroutine lies elsewhere. */
static bool is_thread_top(uintptr_t sp)
{
	uintptr_t arguments = (uintptr_t)getauxval(AT_RANDOM);

	return arguments - sp < ARGUMENT_BYTES_MAX || thread_pointer() - sp < THREAD_TOP_BYTES_MAX;
}

/* After a walk that began at `start` and ended at the outermost frame: the stretch between is kept
 * for the thread (WINDOW-2), if it is the thread's own stack: it ends where that does, was climbed
 * without a change of stacks, and each of its pages is there. */
static GY_NOINLINE void learn_stack(const struct walk *walk, uintptr_t start)
{
	const struct gy_stack_range known = walk->window.known;
	uintptr_t end = walk->registers.value[GY_CFI_RSP];
	uintptr_t low = start & ~(GY_WINDOW_PAGE_BYTES - 1);
	uintptr_t high = (end + GY_WINDOW_PAGE_BYTES - 1) & ~(GY_WINDOW_PAGE_BYTES - 1);

	if (walk->interrupted || end < start || high - low > LEARN_BYTES_MAX || !is_thread_top(end))
		return;
	for (uintptr_t page = low; page < high; page += GY_WINDOW_PAGE_BYTES) {
		if (page - known.low >= known.high - known.low &&
		    !gy_sys_readable((const void *)page))
			return;
	}
	WRITE_RELAXED(gy_thread_stack.range.high, 0);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	WRITE_RELAXED(gy_thread_stack.range.low, low);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	WRITE_RELAXED(gy_thread_stack.range.high, high);
}

/* After a walk whose frames were full before it came to an end: seeks the outermost frame, in the
 * thread's first few walks, so that a thread that is always deep gets to know its stack as well. */
static int seek_outermost(struct walk *walk)
{
	int error = WALK_ON;

	for (unsigned i = 0; i < LEARN_FRAMES && !error; i++)
		error = plausible_pc(walk->registers.value[GY_CFI_RIP]) ? step(walk) : -EINVAL;
	return error;
}

/* The registers of the caller of this (inlined) function, and its pc; the callee-saved ones beyond
 * rbp only in full. */
GY_INLINE void take_registers(struct gy_cfi_registers *registers, bool full)
{
	uint64_t *value = registers->value;

	registers->valid = FAST_VALID;
#if defined(__x86_64__)
	if (full) {
		__asm__ volatile("movq %%rbx, 24(%0)\n\t"
				 "movq %%r12, 96(%0)\n\t"
				 "movq %%r13, 104(%0)\n\t"
				 "movq %%r14, 112(%0)\n\t"
				 "movq %%r15, 120(%0)"
				 :
				 : "r"(value)
				 : "memory");
		registers->valid |= GY_CFI_BIT(GY_CFI_RBX) | 0xfu << GY_CFI_R12;
	}
	__asm__ volatile("movq %%rbp, 48(%0)\n\t"
			 "movq %%rsp, 56(%0)\n\t"
			 "leaq 0f(%%rip), %%rax\n"
			 "0:\tmovq %%rax, 128(%0)"
			 :
			 : "r"(value)
			 : "rax", "memory");
#else
	/* A frame record is {caller's frame, return address} here too. */
	(void)full;
	value[GY_CFI_RBP] = (uintptr_t)__builtin_frame_address(0);
	value[GY_CFI_RSP] = value[GY_CFI_RBP];
	value[GY_CFI_RIP] = (uintptr_t)__builtin_return_address(0);
#endif
}

GY_NOINLINE unsigned gy_stack_walk(uintptr_t *frames, unsigned capacity, uintptr_t caller_pc,
				   struct gy_stack_range range, uintptr_t memo_sp,
				   struct gy_stack_seen *seen)
{
	struct walk walk;
	uintptr_t start;
	int error;

	frames[0] = caller_pc; /* UNWIND-1 */
	walk.option = (enum stack_option)gy_option(GY_OPT_sample_stack);
	walk.frames = frames;
	walk.capacity = capacity;
	walk.caller_pc = caller_pc;
	memset(&walk.object, 0, sizeof(walk.object));
	memset(walk.seen, 0, sizeof(walk.seen));
	walk.seen_next = 0;
	walk.full = false;
	do {
		take_registers(&walk.registers, walk.full);
		start = walk.registers.value[GY_CFI_RSP];
		gy_stack_window_init(&walk.window, start, range);
		walk.exact = true;
		walk.path = gy_rule_path(caller_pc, start);
		walk.path_next = 0;
		walk.met = false;
		walk.interrupted = false;
		walk.rbp_slot = 0;
		walk.trail.anchor_count = 0;
		walk.trail.kept = true;
		walk.depth = 1;
		error = run(&walk);
	} while (error == -EAGAIN && !walk.full && (walk.full = true));
	/* A walk that broke off might go further the next time: it is not kept. */
	walk.trail.kept &= error == -ENOENT || (error == WALK_FULL && walk.depth == capacity);
	if (unlikely(start - walk.window.known.low >=
		     walk.window.known.high - walk.window.known.low)) {
		if (error == WALK_FULL && walk.depth == capacity &&
		    gy_thread_stack.tries < LEARN_TRIES) {
			gy_thread_stack.tries++;
			error = seek_outermost(&walk);
		}
		if (error == -ENOENT)
			learn_stack(&walk, start);
	}
	if (walk.met && !walk.full)
		gy_stack_memo_put(memo_sp, caller_pc, range, &walk.trail, frames, walk.depth,
				  capacity, seen);
	ASSERT(walk.depth >= 1 && walk.depth <= capacity && frames[0] == caller_pc); /* UNWIND-1 */
	return walk.depth;
}
