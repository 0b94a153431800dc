/* unwind_hostile_test.c - the stack walk where nothing can be relied on: it must come back.
 *
 * Smashed frames, stacks that end at a hole, code without any tables. The right answer here is
 * frames[0] and no fault; more frames are a gift. backtrace() is not asked: it would not survive.
 */
#include "unit/trace/chain.h"

#include "trace/loaded_object.h"
#include "trace/stack_window.h"

#include <sys/auxv.h>
#include <sys/mman.h>
#include <ucontext.h>

TestSuite(unwind_hostile, .fini = chain_cleanup);

#define SMASH_WORDS 48

/* Writes `count` words over its own frame (saved rbp, return address, the callers' frames), calls,
 * and puts back what was there. */
static const char smash_source[] =
	"int smash(int (*v)(void *), void *c, const unsigned long *words, unsigned count);\n"
	"int smash(int (*v)(void *), void *c, const unsigned long *words, unsigned count) {\n"
	"	static unsigned long saved[64]; static unsigned many; static volatile unsigned "
	"long *frame;\n"
	"	int r; many = count; frame = __builtin_frame_address(0);\n"
	"	for (unsigned i = 0; i < many; i++) { saved[i] = frame[i]; frame[i] = words[i]; }\n"
	"	r = v(c);\n"
	"	for (unsigned i = 0; i < many; i++) frame[i] = saved[i];\n"
	"	return r; }\n";

typedef int smash_entry(chain_visit *visit, void *context, const uint64_t *words, unsigned count);

static struct shot hostile; /* static: the stack around is being written over */

__attribute__((noinline)) static int visit_walk(void *context)
{
	struct shot *shot = context;

	shot->depth = capture_new(shot->frames, 32, (uintptr_t)__builtin_return_address(0));
	__asm__ volatile("" ::: "memory");
	return 0;
}

struct smashing {
	smash_entry *smash;
	const uint64_t *words;
	unsigned count;
};

static struct smashing smashing;

static int visit_smash(void *context)
{
	(void)context;
	return smashing.smash(visit_walk, &hostile, smashing.words, smashing.count);
}

static void smash(smash_entry *entry, chain_entry *chain, const uint64_t *words, unsigned count)
{
	smashing = (struct smashing){entry, words, count};
	hostile.depth = 0;
	chain(visit_smash, NULL);
	cr_assert_geq(hostile.depth, 1u);
	cr_assert_leq(hostile.depth, 32u);
	cr_assert_str_eq(frame_name(hostile.frames[0]), "smash");
}

static uint64_t random_word(void)
{
	static uint64_t state = 20240229;

	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

/* Words of the kinds that overwrites and stale frames leave behind. */
static uint64_t nasty_word(void)
{
	static uint64_t hole;
	uint64_t stack = (uintptr_t)__builtin_frame_address(0);

	if (!hole) {
		hole = (uintptr_t)mmap(NULL, 16384, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		munmap((void *)(uintptr_t)(hole + 4096), 4096);
		mprotect((void *)(uintptr_t)(hole + 12288), 4096, PROT_NONE);
	}
	switch (random_word() % 12) {
	case 0:
		return 0;
	case 1:
		return random_word() % 8192;
	case 2:
		return 0x4141414141414141u;
	case 3:
		return random_word();
	case 4:
		return UINT64_MAX - random_word() % 8192;
	case 5:
		return (uint64_t)1 << 47;
	case 6:
		return hole + random_word() % 16384;
	case 7:
		return hole + 4096 * (1 + random_word() % 3) - 8;
	case 8:
		return (uintptr_t)qsort + random_word() % 4096; /* into libc's code */
	case 9:
		return (uintptr_t)visit_walk + random_word() % 256;
	default:
		return (stack & ~(uint64_t)7) + random_word() % 512 * 8; /* further up this stack */
	}
}

static void smash_at_random(const char *flags, unsigned rounds)
{
	smash_entry *entry =
		(smash_entry *)chain_symbol(chain_object("smash", smash_source, flags), "smash");
	chain_entry *chain = chain_make("tables", flags);
	static uint64_t words[SMASH_WORDS];

	for (unsigned round = 0; round < rounds; round++) {
		unsigned count = 1 + (unsigned)(random_word() % SMASH_WORDS);

		for (unsigned i = 0; i < count; i++)
			words[i] = nasty_word();
		if (round % 64 == 0)
			gy_unwind_cache_clear();
		smash(entry, chain, words, count);
	}
}

Test(unwind_hostile, smashed_with_tables)
{
	smash_at_random(TABLES, 20000);
}

Test(unwind_hostile, smashed_with_frame_pointers)
{
	smash_at_random(NO_TABLES, 20000);
}

Test(unwind_hostile, smashed_option_frame_pointer)
{
	gy_option_values[GY_OPT_sample_stack] = 1;
	smash_at_random(NO_TABLES, 5000);
}

/* The usual overflow: everything above is the letter A. */
Test(unwind_hostile, overflowed_buffer)
{
	smash_entry *entry =
		(smash_entry *)chain_symbol(chain_object("smash", smash_source, TABLES), "smash");
	chain_entry *chain = chain_make("tables", TABLES);
	static uint64_t words[SMASH_WORDS];

	memset(words, 'A', sizeof(words));
	smash(entry, chain, words, SMASH_WORDS);
	cr_assert_eq(hostile.depth, 1u, "0x4141414141414141 is no return address");
}

/* A frame that claims to be its own caller, or one below: the walk must not go round. */
Test(unwind_hostile, UNWIND_2_circular_chain)
{
	smash_entry *entry = (smash_entry *)chain_symbol(
		chain_object("smash", smash_source, NO_TABLES), "smash");
	chain_entry *chain = chain_make("pointers", NO_TABLES);
	static uint64_t words[2];

	for (int64_t distance = -4096; distance <= 64; distance += 8) {
		words[0] = (uintptr_t)__builtin_frame_address(0) + (uint64_t)distance;
		words[1] = (uintptr_t)chain;
		smash(entry, chain, words, 2);
	}
}

/* Rules are in the cache for pcs whose object is gone: the tables they came from are gone as well.
 */
Test(unwind_hostile, UNWIND_4_return_into_an_unloaded_object)
{
	smash_entry *entry =
		(smash_entry *)chain_symbol(chain_object("smash", smash_source, TABLES), "smash");
	chain_entry *chain = chain_make("tables", TABLES);
	void *object = chain_object("gone", chain_source, TABLES);
	static uint64_t words[2];
	static struct shot gone;

	((chain_entry *)chain_symbol(object, "chain_11"))(visit_walk, &gone);
	cr_assert_gt(gone.depth, (unsigned)CHAIN_LINKS);
	cr_assert_eq(dlclose(object), 0);
	for (unsigned i = 0; i < CHAIN_LINKS; i++) {
		words[0] = 0;
		words[1] = gone.frames[i];
		smash(entry, chain, words, 2);
	}
}

static ucontext_t edge, home;
static smash_entry *edge_smash;
static uint64_t edge_words[2];

static void run_edge(void)
{
	edge_smash(visit_walk, &hostile, edge_words, 2);
}

/* The last words of a stack, behind which nothing is mapped. */
Test(unwind_hostile, UNWIND_3_stack_that_ends_at_a_hole)
{
	const size_t bytes = 64 << 10;
	char *stack = mmap(NULL, bytes + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);

	cr_assert_neq((void *)stack, MAP_FAILED);
	munmap(stack + bytes, 4096);
	edge_smash = (smash_entry *)chain_symbol(chain_object("smash", smash_source, NO_TABLES),
						 "smash");
	for (uint64_t below = 0; below <= 64; below += 4) {
		edge_words[0] = (uintptr_t)stack + bytes - below;
		edge_words[1] =
			(uintptr_t)edge_smash + 8; /* no tables there: the frame pointer is used */
		getcontext(&edge);
		edge.uc_stack.ss_sp = stack;
		edge.uc_stack.ss_size = bytes;
		edge.uc_link = &home;
		makecontext(&edge, run_edge, 0);
		swapcontext(&home, &edge);
		cr_assert_geq(hostile.depth, 1u);
	}
}

/* ---- code that no object holds ---- */
static chain_entry *jit(const void *code, size_t bytes)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq((void *)page, MAP_FAILED);
	memcpy(page, code, bytes);
	cr_assert_eq(mprotect(page, 4096, PROT_READ | PROT_EXEC), 0);
	return (chain_entry *)(uintptr_t)page;
}

Test(unwind_hostile, code_made_at_run_time)
{
	/* push rbp; mov rbp, rsp; mov rax, rdi; mov rdi, rsi; call rax; pop rbp; ret */
	static const unsigned char framed[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0x89, 0xf8,
					       0x48, 0x89, 0xf7, 0xff, 0xd0, 0x5d, 0xc3};
	/* sub rsp, 8; mov rax, rdi; mov rdi, rsi; call rax; add rsp, 8; ret */
	static const unsigned char bare[] = {0x48, 0x83, 0xec, 0x08, 0x48, 0x89, 0xf8, 0x48, 0x89,
					     0xf7, 0xff, 0xd0, 0x48, 0x83, 0xc4, 0x08, 0xc3};
	chain_entry *with = jit(framed, sizeof(framed)), *without = jit(bare, sizeof(bare));
	struct shot outside = {.capacity = 0};

	visit_walk(&outside);
	with(visit_walk, &hostile);
	cr_assert_eq(hostile.depth, outside.depth + 1);
	cr_assert_eq(hostile.frames[0], (uintptr_t)with + 12);
	for (unsigned i = 1; i < outside.depth; i++)
		cr_assert_eq(hostile.frames[i + 1], outside.frames[i]);
	without(visit_walk, &hostile);
	cr_assert_geq(hostile.depth, 1u);
	cr_assert_eq(hostile.frames[0], (uintptr_t)without + 12);
}

/* ---- how much stack a cold walk takes ---- */
#define PAINT 0x5a

static void run_painted(void)
{
	capture_new(hostile.frames, 32, (uintptr_t)run_painted);
}

Test(unwind_hostile, cold_walk_fits_a_small_stack)
{
	const size_t bytes = 64 << 10;
	char *stack = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile size_t untouched = 0;
	size_t taken;

	memset(stack, PAINT, bytes);
	gy_unwind_cache_clear();
	getcontext(&edge);
	edge.uc_stack.ss_sp = stack;
	edge.uc_stack.ss_size = bytes;
	edge.uc_link = &home;
	makecontext(&edge, run_painted, 0);
	swapcontext(&home, &edge);
	while (stack[untouched] == PAINT)
		untouched++;
	taken = bytes - untouched;
	fprintf(stderr, "# a cold walk took %zu bytes of stack\n", taken);
	if (!GY_ASAN && !GY_TSAN)
		cr_assert_lt(taken, (size_t)4096, "%zu", taken);
}

/* ---- the window ---- */
Test(unwind_hostile, WINDOW_1_reads_only_what_is_there)
{
	char *pages =
		mmap(NULL, 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const uintptr_t base = (uintptr_t)pages;
	const volatile uintptr_t nothing = 0; /* hides from the compiler that it is NULL */
	struct gy_stack_window window;
	uint64_t value;

	for (unsigned i = 0; i < 5 * 512; i++)
		((uint64_t *)(void *)pages)[i] = i;
	munmap(pages, 4096);
	mprotect(pages + 4 * 4096, 4096, PROT_NONE);
	gy_stack_window_init(&window, base + 2 * 4096 + 64, (struct gy_stack_range){0, 0});
	for (uintptr_t at = base - 64; at < base + 5 * 4096 + 64; at += 4) {
		bool there = at >= base + 4096 && at < base + 4 * 4096 && at % 8 == 0;

		if (at >= base + 5 * 4096)
			break; /* whatever is mapped behind */
		if (at < base)
			continue;
		cr_assert_eq(gy_stack_window_read(&window, at, &value), there, "%#lx",
			     (unsigned long)(at - base));
		if (there)
			cr_assert_eq(value, (at - base) / 8);
	}
	cr_assert_not(gy_stack_window_read(&window, nothing, &value));
	cr_assert_not(gy_stack_window_read(&window, nothing + 8, &value));
	cr_assert_not(gy_stack_window_read(&window, nothing - 8, &value));
	cr_assert_not(gy_stack_window_read(&window, nothing - 4096, &value));
	cr_assert_not(gy_stack_window_read(&window, (uintptr_t)1 << 63, &value));
	/* one page back, one far away, and back: the window follows */
	cr_assert(gy_stack_window_read(&window, base + 4096, &value));
	cr_assert(gy_stack_window_read(&window, (uintptr_t)&window.low & ~(uintptr_t)7, &value));
	cr_assert(gy_stack_window_read(&window, base + 3 * 4096, &value));
}

/* ---- objects ---- */
static void expect_same_object(uintptr_t pc)
{
	struct gy_loaded_object found, listed;
	bool is_found = gy_loaded_object_find(pc, &found);

	cr_assert_eq(gy_loaded_object_find_listed(pc, &listed), is_found, "%#lx",
		     (unsigned long)pc);
	cr_assert(found.eh_frame_hdr == listed.eh_frame_hdr);
	if (is_found)
		cr_assert(gy_loaded_object_holds(&found, pc) &&
			  gy_loaded_object_holds(&listed, pc));
}

Test(unwind_hostile, OBJECT_1_list_knows_what_the_loader_knows)
{
	uintptr_t vdso = (uintptr_t)getauxval(AT_SYSINFO_EHDR);
	struct gy_loaded_object object;

	expect_same_object((uintptr_t)qsort);
	expect_same_object((uintptr_t)expect_same_object);
	expect_same_object((uintptr_t)dlopen);
	expect_same_object(8);
	expect_same_object((uintptr_t)&object);
	if (vdso) {
		expect_same_object(vdso + 0x700);
		cr_assert(gy_loaded_object_find(vdso + 0x700, &object), "the vdso must be known");
	}
	cr_assert_not(gy_loaded_object_find(0, &object));
	cr_assert_not(gy_loaded_object_holds(&object, 0));
	cr_assert_not(gy_loaded_object_find(UINTPTR_MAX, &object));
}
