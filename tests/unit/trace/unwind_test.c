/* unwind_test.c - the stack walk: what it must find, in code compiled in every way.
 *
 * Known chains (chain.h), and glibc's backtrace() on the same stack as a second opinion. What a
 * walk must survive is in unwind_hostile_test.c.
 */
#include "unit/trace/chain.h"

#include "os/sys.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

/* backtrace loads libgcc_s at its first call: here, not on a small stack or in a signal handler. */
static void load_backtrace(void)
{
	void *trace[2];

	backtrace(trace, 2);
}

TestSuite(unwind, .init = load_backtrace, .fini = chain_cleanup);

static void expect_chain(const struct shot *shot, unsigned at)
{
	int found = shot_find_chain(shot, 0, CHAIN_LINKS);

	if (found != (int)at)
		shot_print(shot);
	cr_assert_eq(found, (int)at);
}

static void expect_agreement(const struct shot *shot)
{
	bool agrees = shot_agrees(shot);

	if (!agrees)
		shot_print(shot);
	cr_assert(agrees);
}

Test(unwind, tables_without_frame_pointers)
{
	struct shot shot = {.capacity = 0};

	chain_make("tables", TABLES)(shot_take, &shot);
	expect_chain(&shot, 0);
	expect_agreement(&shot);
	cr_assert_gt(shot.depth, CHAIN_LINKS + 2u, "the walk must reach what called the chain");
}

Test(unwind, frame_pointers_without_tables)
{
	struct shot shot = {.capacity = 0}, outside = {.capacity = 0};

	shot_take(&outside);
	chain_make("pointers", NO_TABLES)(shot_take, &shot);
	expect_chain(&shot, 0);
	/* Behind the chain the walk finds this function, and all that outside found. */
	cr_assert_eq(shot.depth, outside.depth + CHAIN_LINKS);
	for (unsigned i = 1; i < outside.depth; i++)
		cr_assert_eq(shot.frames[CHAIN_LINKS + i], outside.frames[i]);
}

Test(unwind, unoptimised)
{
	struct shot shot = {.capacity = 0};

	chain_make("plain", "-O0")(shot_take, &shot);
	expect_chain(&shot, 0);
	expect_agreement(&shot);
}

Test(unwind, realigned_stacks)
{
	struct shot shot = {.capacity = 0};

	chain_make("realign", TABLES " -DREALIGN -mstackrealign")(shot_take, &shot);
	expect_chain(&shot, 0);
	expect_agreement(&shot);
}

Test(unwind, wide_frames_cross_pages)
{
	struct shot shot = {.capacity = 0};

	chain_make("wide", TABLES " -DROOM_BYTES=9000")(shot_take, &shot);
	expect_chain(&shot, 0);
	expect_agreement(&shot);
}

/* One chain calls the other as its visit: tables in pointers in tables in pointers. */
struct nest {
	chain_entry *entries[4];
	unsigned next;
	struct shot shot;
};

static int visit_next(void *context)
{
	struct nest *nest = context;
	int result;

	if (nest->next == 4)
		return shot_take(&nest->shot) + 1;
	nest->next++;
	result = nest->entries[nest->next - 1](visit_next, nest);
	__asm__ volatile("" ::: "memory");
	return result + 1;
}

Test(unwind, tables_and_frame_pointers_mixed)
{
	chain_entry *tables = chain_make("tables", TABLES),
		    *pointers = chain_make("pointers", NO_TABLES);
	struct nest nest = {{tables, pointers, tables, pointers}, 0, {.capacity = 0}};
	int at = 0;

	visit_next(&nest);
	for (unsigned i = 0; i < 4; i++) {
		int found = shot_find_chain(&nest.shot, (unsigned)at, CHAIN_LINKS);

		if (found < 0)
			shot_print(&nest.shot);
		cr_assert_geq(found, at);
		at = found + CHAIN_LINKS;
	}
}

Test(unwind, option_frame_pointer)
{
	struct shot shot = {.capacity = 0};

	gy_option_values[GY_OPT_sample_stack] = 1;
	chain_make("pointers", NO_TABLES)(shot_take, &shot);
	expect_chain(&shot, 0);
}

Test(unwind, option_unwind_ends_where_tables_end)
{
	struct shot shot = {.capacity = 0};

	gy_option_values[GY_OPT_sample_stack] = 2;
	chain_make("tables", TABLES)(shot_take, &shot);
	expect_chain(&shot, 0);
	chain_make("pointers", NO_TABLES)(shot_take, &shot);
	cr_assert_eq(shot.depth, 1u);
}

Test(unwind, option_off_keeps_the_caller)
{
	struct shot shot = {.capacity = 0};

	gy_option_values[GY_OPT_sample_stack] = 3;
	chain_make("tables", TABLES)(shot_take, &shot);
	cr_assert_eq(shot.depth, 1u);
	cr_assert_str_eq(frame_name(shot.frames[0]), "chain_0");
}

/* UNWIND-1 */
Test(unwind, UNWIND_1_first_frame_is_the_caller)
{
	uintptr_t frames[8] = {0};

	cr_assert_eq(capture_new(frames, 0, 0x1234), 0u);
	cr_assert_eq(frames[0], (uintptr_t)0);
	cr_assert_eq(capture_new(frames, 1, 0x1234), 1u);
	cr_assert_eq(frames[0], (uintptr_t)0x1234);
	/* a caller that is not on the stack: it comes first, what lies outside the library follows
	 */
	cr_assert_geq(capture_new(frames, 8, 0x1234), 1u);
	cr_assert_eq(frames[0], (uintptr_t)0x1234);
}

/* UNWIND-5, and a capacity below the depth: a beginning of the whole. */
Test(unwind, UNWIND_5_warm_is_cold_and_short_is_a_prefix)
{
	chain_entry *entry = chain_make("tables", TABLES " -DREALIGN");
	struct shot cold = {.capacity = 0};

	gy_unwind_cache_clear();
	entry(shot_take, &cold);
	for (unsigned capacity = 1; capacity <= SHOT_FRAMES; capacity++) {
		struct shot warm = {.capacity = capacity};

		entry(shot_take, &warm);
		cr_assert_eq(warm.depth, capacity < cold.depth ? capacity : cold.depth);
		/* what lies outside the chain was called from another line of this test */
		cr_assert_arr_eq(warm.frames, cold.frames,
				 (warm.depth < CHAIN_LINKS ? warm.depth : CHAIN_LINKS) *
					 sizeof(uintptr_t));
	}
}

static int descend(struct shot *shot, unsigned depth)
{
	volatile int result = depth ? descend(shot, depth - 1) : shot_take(shot);

	return result + 1;
}

Test(unwind, deep_recursion_fills_the_capacity)
{
	struct shot shot = {.capacity = 0};

	descend(&shot, 1000);
	cr_assert_eq(shot.depth, (unsigned)SHOT_FRAMES);
	for (unsigned i = 3; i < SHOT_FRAMES; i++)
		cr_assert_eq(shot.frames[i], shot.frames[2]);
}

static struct shot *callback_shot;

static int compare(const void *left, const void *right)
{
	if (!callback_shot->depth)
		shot_take(callback_shot);
	return *(const int *)left - *(const int *)right;
}

static void *object_of(uintptr_t frame)
{
	Dl_info info;

	return dladdr((void *)(frame - 1), &info) ? info.dli_fbase : NULL;
}

Test(unwind, through_qsort_in_libc)
{
	int numbers[] = {5, 3, 9, 1, 7};
	struct shot shot = {.capacity = 0};
	unsigned i = 0;

	callback_shot = &shot;
	qsort(numbers, 5, sizeof(numbers[0]), compare);
	expect_agreement(&shot);
	/* compare in this program, frames of libc (or of the sanitizer in its place), this program
	 */
	while (i < shot.depth && object_of(shot.frames[i]) == object_of(shot.frames[0]))
		i++;
	cr_assert_geq(i, 1u);
	while (i < shot.depth && object_of(shot.frames[i]) != object_of(shot.frames[0]))
		i++;
	cr_assert_lt(i, shot.depth, "qsort's caller must be there");
}

static const char constructor_source[] =
	"#include <stdlib.h>\n"
	"int constructor_link(void);\n"
	"__attribute__((noinline)) int constructor_link(void) {\n"
	"	int (*visit)(void *) = (void *)strtoul(getenv(\"GYRE_TEST_VISIT\"), 0, 16);\n"
	"	int r = visit((void *)strtoul(getenv(\"GYRE_TEST_CONTEXT\"), 0, 16));\n"
	"	__asm__ volatile(\"\" ::: \"memory\"); return r; }\n"
	"__attribute__((constructor)) static void start(void) { constructor_link();\n"
	"	__asm__ volatile(\"\" ::: \"memory\"); }\n";

Test(unwind, from_a_constructor_inside_dlopen)
{
	struct shot shot = {.capacity = 0};
	bool loader = false;
	char word[32];

	snprintf(word, sizeof(word), "%lx", (unsigned long)(uintptr_t)shot_take);
	setenv("GYRE_TEST_VISIT", word, 1);
	snprintf(word, sizeof(word), "%lx", (unsigned long)(uintptr_t)&shot);
	setenv("GYRE_TEST_CONTEXT", word, 1);
	chain_object("constructor", constructor_source, TABLES);
	expect_agreement(&shot);
	cr_assert_str_eq(frame_name(shot.frames[0]), "constructor_link");
	for (unsigned i = 0; i < shot.depth; i++)
		loader = loader || !strncmp(frame_name(shot.frames[i]), "_dl_", 4) ||
			 !strncmp(frame_name(shot.frames[i]), "dlopen", 6);
	cr_assert(loader, "the loader's frames must be there");
}

static struct shot *signal_shot;

static void on_signal(int number)
{
	(void)number;
	shot_take(signal_shot);
}

static int visit_raise(void *context)
{
	int result;

	signal_shot = context;
	result = raise(SIGUSR1);
	__asm__ volatile("" ::: "memory");
	return result;
}

static void handle(int number, void (*handler)(int), int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

	cr_assert_eq(sigaction(number, &action, NULL), 0);
}

/* The chain must stand complete below the signal frame. */
static void expect_chain_below_signal(const struct shot *shot)
{
	int at = shot_find_chain(shot, 1, CHAIN_LINKS);

	if (at < 2)
		shot_print(shot);
	cr_assert_geq(at, 2);
}

Test(unwind, through_a_signal_frame)
{
	struct shot shot = {.capacity = 0};

	handle(SIGUSR1, on_signal, 0);
	chain_make("tables", TABLES)(visit_raise, &shot);
	expect_chain_below_signal(&shot);
	expect_agreement(&shot);
	shot.depth = 0;
	chain_make("pointers", NO_TABLES)(visit_raise, &shot);
	expect_chain_below_signal(&shot);
}

Test(unwind, from_an_alternate_stack)
{
	const size_t bytes = 256 << 10;
	stack_t stack = {.ss_size = bytes};
	struct shot shot = {.capacity = 0};

	stack.ss_sp = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(stack.ss_sp, MAP_FAILED);
	cr_assert_eq(sigaltstack(&stack, NULL), 0);
	handle(SIGUSR1, on_signal, SA_ONSTACK);
	chain_make("tables", TABLES)(visit_raise, &shot);
	expect_chain_below_signal(&shot);
	expect_agreement(&shot);
}

/* A leaf that keeps no frame at all, interrupted in its middle. */
static const char leaf_source[] =
	"int leaf(int n); int caller(int n);\n"
	"__attribute__((noinline)) int leaf(int n) { __asm__ volatile(\"int3\"); return n + 1; }\n"
	"__attribute__((noinline)) int caller(int n) { int r = leaf(n); __asm__ volatile(\"\" ::: "
	"\"memory\"); return r; }\n";

Test(unwind, leaf_without_a_frame)
{
	struct shot shot = {.capacity = 0};
	unsigned i = 0;
	void *object;

	handle(SIGTRAP, on_signal, 0);
	signal_shot = &shot;
	object = chain_object("leaf", leaf_source, TABLES);
	cr_assert_eq(((int (*)(int))chain_symbol(object, "caller"))(41), 42);
	expect_agreement(&shot);
	while (i < shot.depth && strcmp(frame_name(shot.frames[i]), "leaf") != 0)
		i++;
	cr_assert_lt(i + 1, shot.depth);
	cr_assert_str_eq(frame_name(shot.frames[i + 1]), "caller");
}

/* A call that never returns, as the last instruction of its function: the return address lies in
 * whatever function follows. */
static const char noreturn_source[] =
	"#include <setjmp.h>\n"
	"static jmp_buf back; static int (*v)(void *); static void *c;\n"
	"__attribute__((noinline, noreturn)) void never(void); __attribute__((noinline)) int "
	"last(int n);\n"
	"void never(void) { v(c); longjmp(back, 1); }\n"
	"int last(int n) { volatile char room[200]; room[0] = n; never(); }\n"
	"int after(int n); int after(int n) { return n; }\n"
	"int enter(int (*visit)(void *), void *context);\n"
	"int enter(int (*visit)(void *), void *context) { v = visit; c = context; if "
	"(!setjmp(back)) last(1); return 0; }\n";

Test(unwind, call_that_does_not_return)
{
	struct shot shot = {.capacity = 0};
	chain_entry *entry = (chain_entry *)chain_symbol(
		chain_object("never", noreturn_source, TABLES), "enter");

	entry(shot_take, &shot);
	expect_agreement(&shot);
	cr_assert_str_eq(frame_name(shot.frames[0]), "never");
	cr_assert_str_eq(frame_name(shot.frames[1]), "last");
	cr_assert_str_eq(frame_name(shot.frames[2]), "enter");
}

static ucontext_t coroutine, home;
static struct shot coroutine_shot;

static void run_coroutine(void)
{
	shot_take(&coroutine_shot);
}

Test(unwind, on_a_coroutine_s_stack)
{
	const size_t bytes = 128 << 10;

	cr_assert_eq(getcontext(&coroutine), 0);
	coroutine.uc_stack.ss_sp =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	coroutine.uc_stack.ss_size = bytes;
	coroutine.uc_link = &home;
	makecontext(&coroutine, run_coroutine, 0);
	cr_assert_eq(swapcontext(&home, &coroutine), 0);
	cr_assert_geq(coroutine_shot.depth, 1u);
	cr_assert_leq(coroutine_shot.depth, 3u, "the coroutine's stack ends at its start");
	expect_agreement(&coroutine_shot);
}

static void *run_thread(void *context)
{
	gy_unwind_cache_clear();
	shot_take(context);
	return NULL;
}

/* The walk, cold, on a stack of 16 KiB (more where a sanitizer needs it). */
Test(unwind, on_a_small_thread_stack)
{
	struct shot shot = {.capacity = 0};
	pthread_attr_t attributes;
	pthread_t thread;
	long least = sysconf(_SC_THREAD_STACK_MIN);
	size_t bytes = 16 << 10;

	if (GY_ASAN || GY_TSAN || bytes < (size_t)least)
		bytes = 256 << 10;
	pthread_attr_init(&attributes);
	cr_assert_eq(pthread_attr_setstacksize(&attributes, bytes), 0);
	cr_assert_eq(pthread_create(&thread, &attributes, run_thread, &shot), 0);
	pthread_join(thread, NULL);
	expect_agreement(&shot);
}

/* A thread that has once walked to its outermost frame asks the kernel for no page of its stack. */
Test(unwind, WINDOW_2_own_stack_is_learnt)
{
	chain_entry *wide = chain_make("wide", TABLES " -DROOM_BYTES=9000");
	struct shot first = {.capacity = 0}, second = {.capacity = 0};

	wide(shot_take, &first);
	gy_option_values[GY_OPT_fault_call] = GY_SYS_rt_sigprocmask;
	gy_option_values[GY_OPT_fault_count] = (uint64_t)1 << 40;
	wide(shot_take, &second);
	expect_chain(&second, 0);
	cr_assert_eq(second.depth, first.depth);
}

/* Where it has not: the walk ends at the first page that cannot be shown to be there. */
Test(unwind, WINDOW_2_without_the_kernel_s_word_a_page_is_not_read)
{
	chain_entry *wide = chain_make("wide", TABLES " -DROOM_BYTES=9000");
	struct shot shot = {.capacity = 0};

	gy_option_values[GY_OPT_fault_call] = GY_SYS_rt_sigprocmask;
	gy_option_values[GY_OPT_fault_count] = (uint64_t)1 << 40;
	wide(shot_take, &shot);
	cr_assert_geq(shot.depth, 1u);
	cr_assert_leq(shot.depth, 2u);
}

/* A thread that is always deeper than the capacity gets to know its stack all the same. */
Test(unwind, WINDOW_2_deep_stacks_are_learnt)
{
	chain_entry *wide = chain_make("wide", TABLES " -DROOM_BYTES=9000");
	struct shot shot = {.capacity = 4};

	wide(shot_take, &shot);
	gy_option_values[GY_OPT_fault_call] = GY_SYS_rt_sigprocmask;
	gy_option_values[GY_OPT_fault_count] = (uint64_t)1 << 40;
	wide(shot_take, &shot);
	cr_assert_eq(shot.depth, 4u);
}

/* Same address, other code: what was cached of the first object must not be used for the second. */
Test(unwind, UNWIND_4_object_replaced_at_the_same_address)
{
	unsigned same = 0;

	for (unsigned i = 0; i < 8; i++) {
		struct shot shot = {.capacity = 0};
		static void *last;
		void *object, *entry;
		char flags[128];

		/* the frames differ in size, the functions in place do not */
		snprintf(flags, sizeof(flags), TABLES " -DROOM_BYTES=%u", i % 2 ? 9000u : 5000u);
		object = chain_object("replaced", chain_source, flags);
		entry = chain_symbol(object, "chain_11");
		same += entry == last;
		last = entry;
		((chain_entry *)entry)(shot_take, &shot);
		expect_chain(&shot, 0);
		expect_agreement(&shot);
		dlclose(object);
	}
	cr_assert_gt(same, 0u, "the loader never used an address twice: nothing was shown");
}

/* ---- stacks seen before ---- */

/* Two callers whose frames differ in size, and a function that makes up for it, such that capture
 * begins at the same stack pointer: where the first left the return address into itself, the second
 * has a hole, with the old word still in it. */
static const char varying_source[] =
	"#include <alloca.h>\n"
	"typedef int visit(void *);\n"
	"int outer(visit *v, void *c, unsigned long n);\n"
	"__attribute__((noinline)) int outer(visit *v, void *c, unsigned long n) {\n"
	"	volatile char *m = alloca(n); m[0] = 1; int r = v(c); return r + m[0]; }\n"
	"#define CALLER(name, n) int name(visit *v, void *c, unsigned long size); \\\n"
	"	int name(visit *v, void *c, unsigned long size) { \\\n"
	"		volatile char *m = alloca(size); m[0] = 1; \\\n"
	"		int r = outer(v, c, 1040 - size); return r + m[0] + n; }\n"
	"CALLER(first, 1) CALLER(second, 2)\n";

typedef int varying_entry(chain_visit *visit, void *context, unsigned long size);

/* One place that calls both. */
__attribute__((noinline)) static void call_varying(varying_entry *entry, struct shot *shot,
						   unsigned long size)
{
	entry(shot_walk, shot, size);
	__asm__ volatile("" ::: "memory");
}

Test(unwind, MEMO_3_frames_of_varying_size)
{
	void *object = chain_object("varying", varying_source, TABLES);
	varying_entry *first = (varying_entry *)chain_symbol(object, "first");
	varying_entry *second = (varying_entry *)chain_symbol(object, "second");
	static struct shot shots[4];

	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 4; i++)
			shots[i].capacity = 3;
		/* one behind the other: nothing may write over what the first left */
		for (unsigned i = 0; i < 4; i++)
			call_varying(i % 2 ? second : first, &shots[i], i % 2 ? 1024 : 16);
		for (unsigned i = 0; i < 4; i++) {
			cr_assert_str_eq(frame_name(shots[i].frames[0]), "outer");
			cr_assert_str_eq(frame_name(shots[i].frames[1]), i % 2 ? "second" : "first",
					 "round %u, shot %u", round, i);
		}
	}
}

/* The same with known chains: what memory yields is what a walk yields. */
Test(unwind, MEMO_3_same_as_walked)
{
	chain_entry *entries[] = {chain_make("tables", TABLES), chain_make("pointers", NO_TABLES),
				  chain_make("realign", TABLES " -DREALIGN"),
				  chain_make("wide", TABLES " -DROOM_BYTES=9000")};
	static struct shot first, again;

	for (unsigned i = 0; i < 40; i++) {
		chain_entry *entry = entries[i * 7 / 3 % 4];

		first.capacity = again.capacity = 32 - i % 3;
		if (i % 5 == 0)
			gy_unwind_cache_clear();
		entry(shot_walk, &first);
		entry(shot_walk, &again);
		cr_assert_eq(shot_find_chain(&first, 0, CHAIN_LINKS), 0);
		cr_assert_eq(again.depth, first.depth);
		cr_assert_arr_eq(again.frames, first.frames, CHAIN_LINKS * sizeof(uintptr_t));
	}
}

/* MEMO-4: a note comes back with its stack, and goes with it. */
GY_NOINLINE static unsigned capture_noting(struct gy_stack_seen *seen, uintptr_t *frames)
{
	unsigned depth = gy_stack_capture(frames, 32, (uintptr_t)__builtin_return_address(0), seen);

	__asm__ volatile("" ::: "memory");
	return depth;
}

Test(unwind, MEMO_4_notes)
{
	uintptr_t frames[32], again[32];
	unsigned depth = 0;

	for (unsigned round = 0; round < 12; round++) {
		struct gy_stack_seen seen = {.use_note = round % 4 != 3};
		unsigned got;

		if (round % 6 == 0)
			gy_unwind_cache_clear();
		memset(again, 0, sizeof(again));
		got = capture_noting(&seen, again);
		if (!round) {
			depth = got;
			memcpy(frames, again, sizeof(frames));
		}
		cr_assert_eq(got, depth);
		if (round % 6 == 0) /* the thread's stack may not be known before the first walk */
			continue;
		if (seen.use_note && seen.note) {
			cr_assert_geq(round % 6, 2u);
			cr_assert_eq(seen.note, 4711u);
			continue;
		}
		cr_assert_arr_eq(again, frames, depth * sizeof(*frames));
		cr_assert_neq(seen.version, 0u);
		gy_stack_memo_note(&seen, 4711);
	}
}

/* ---- threads that share the cache, while objects come and go ---- */
static bool sharing;

static void *walk_again_and_again(void *context)
{
	uintptr_t walks = 0;

	while (__atomic_load_n(&sharing, __ATOMIC_RELAXED) || walks < 20) {
		struct shot shot = {.capacity = CHAIN_LINKS};

		((chain_entry *)(uintptr_t)context)(shot_walk, &shot);
		cr_assert_eq(shot_find_chain(&shot, 0, CHAIN_LINKS), 0);
		walks++;
	}
	return (void *)walks;
}

Test(unwind, UNWIND_5_threads_share_the_cache, .timeout = 120)
{
	chain_entry *kinds[] = {chain_make("tables", TABLES), chain_make("pointers", NO_TABLES),
				chain_make("realign", TABLES " -DREALIGN")};
	pthread_t threads[3];
	char path[300];
	void *walks;

	dlclose(chain_object("passing", chain_source, TABLES));
	snprintf(path, sizeof(path), "%s/passing.so", chain_folder);
	__atomic_store_n(&sharing, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, walk_again_and_again,
			       (void *)(uintptr_t)kinds[i]);
	for (unsigned i = 0; i < 200; i++) {
		struct shot shot = {.capacity = CHAIN_LINKS};
		void *object = dlopen(path, RTLD_LAZY);

		cr_assert_not_null(object);
		((chain_entry *)chain_symbol(object, "chain_11"))(shot_walk, &shot);
		cr_assert_eq(shot_find_chain(&shot, 0, CHAIN_LINKS), 0);
		dlclose(object);
		if (i % 10 == 0)
			gy_unwind_cache_clear();
	}
	__atomic_store_n(&sharing, false, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < 3; i++) {
		pthread_join(threads[i], &walks);
		cr_assert_geq((uintptr_t)walks, (uintptr_t)20);
	}
}

/* ---- every instruction of a lazily bound call, stepped through ---- */
static volatile bool stepping;
static unsigned steps, disagreements;
static struct shot step_shot;
static uintptr_t outermost;

static void on_step(int number, siginfo_t *information, void *context)
{
	ucontext_t *interrupted = context;

	(void)number;
	(void)information;
	if (!stepping) {
		interrupted->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)0x100;
		return;
	}
	interrupted->uc_mcontext.gregs[REG_EFL] |= 0x100; /* trap after the next instruction, too */
	shot_take(&step_shot);
	steps++;
	/* every walk must also reach the outermost frame of all */
	if ((!shot_agrees(&step_shot) || step_shot.frames[step_shot.depth - 1] != outermost) &&
	    disagreements++ < 3)
		shot_print(&step_shot);
}

static const char step_source[] =
	"#include <stdlib.h>\n#include <string.h>\n"
	"int stepped(const char *word);\n"
	"int stepped(const char *word) { char room[64]; strcpy(room, word); char *e = "
	"strpbrk(room, \"x\");\n"
	"	long n = labs(strtol(room, &e, 10)) + (long)strspn(room, \"12\");\n"
	"	__asm__ volatile(\"\" ::: \"memory\"); return (int)n; }\n";

Test(unwind, every_instruction_of_a_lazily_bound_call, .timeout = 120)
{
	struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
	int (*stepped)(const char *) = (int (*)(const char *))chain_symbol(
		chain_object("step", step_source,
			     TABLES " -fno-builtin -Wl,-z,lazy -fcf-protection=none"),
		"stepped");

	shot_take(&step_shot);
	outermost = step_shot.frames[step_shot.depth - 1];
	sigaction(SIGTRAP, &action, NULL);
	stepping = true;
	raise(SIGTRAP);
	stepped("1234x");
	stepping = false;
	fprintf(stderr, "# %u instructions stepped\n", steps);
	cr_assert_gt(steps, 500u, "%u", steps);
	cr_assert_eq(disagreements, 0u, "%u of %u", disagreements, steps);
}

/* ---- what it costs ---- */
static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

enum cost { COST_WARM, COST_COLD, COST_BACKTRACE, COST_KINDS };

static uint64_t cost_ns[COST_KINDS];

static int visit_cost(void *context)
{
	uintptr_t frames[16], caller = (uintptr_t)__builtin_return_address(0);
	void *trace[17];

	(void)context;
	for (unsigned kind = 0; kind < COST_KINDS; kind++) {
		cost_ns[kind] = UINT64_MAX;
		for (unsigned i = 0; i < 500; i++) {
			uint64_t begin;

			if (kind == COST_COLD)
				gy_unwind_cache_clear();
			begin = now_ns();
			if (kind == COST_BACKTRACE)
				backtrace(trace, 17);
			else
				capture_new(frames, 16, caller);
			begin = now_ns() - begin;
			if (begin < cost_ns[kind])
				cost_ns[kind] = begin;
		}
	}
	return 0;
}

Test(unwind, cost_of_sixteen_frames)
{
	chain_entry *tables = chain_make("tables", TABLES);

	chain_make("pointers", TABLES " -DREALIGN")(visit_cost, tables);
	fprintf(stderr, "# 16 frames, best of 500: warm %lu ns, cold %lu ns; backtrace() %lu ns\n",
		(unsigned long)cost_ns[COST_WARM], (unsigned long)cost_ns[COST_COLD],
		(unsigned long)cost_ns[COST_BACKTRACE]);
	/* far above what is measured; a lost cache would be seen */
	cr_assert_lt(cost_ns[COST_WARM], GY_ASAN || GY_TSAN || GYRE_CHECK_FULL ? 100000u : 4000u);
}
