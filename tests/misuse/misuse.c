/* misuse.c - a program that does wrong with its heap, one case at a time or all of them.
 *
 *   misuse list             the cases' names
 *   misuse CASE             prints `expect TEXT`, the report that must follow, then does it
 *   misuse all              with on_misuse=continue: every case, interior pointers of every offset,
 *                           and then a stress of the heap, which must be whole
 *
 * TEXT is the line on stderr between "gyre: PID COMM: " and " [called from ...]". The script beside
 * this file compares. The functions of C23 and C++ are found by dlsym, so the program needs no
 * library of ours.
 */
#include "interpose/tap.h"

#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuse-after-free"
#pragma GCC diagnostic ignored "-Wfree-nonheap-object"
#pragma GCC diagnostic ignored "-Wpragmas"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

static char global_bytes[256] __attribute__((aligned(16)));
static void *volatile neighbours[64];

/* Blocks of this size that live on, so that the span of the block in question stays. */
static void keep_neighbours(size_t bytes)
{
	for (unsigned i = 0; i < 64; i++)
		neighbours[i] = malloc(bytes);
}

#define expect(...) expect_line(__VA_ARGS__)

__attribute__((format(printf, 1, 2))) static void expect_line(const char *format, ...)
{
	char line[300];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	say("expect %s\n", line);
}

/* The compiler must not see that the pointer is a bad one. */
static void *hidden(void *pointer)
{
	void *volatile p = pointer;

	return p;
}

static void *at(uintptr_t address)
{
	return hidden((void *)address);
}

/* A case that is one call. */
#define SIMPLE_CASE(name, action)                                                                  \
	static void name(void)                                                                     \
	{                                                                                          \
		action;                                                                            \
	}

/* ---- freed twice ---- */

static void double_free_of(size_t bytes)
{
	void *p, *held;

	keep_neighbours(bytes);
	p = malloc(bytes);
	held = hidden(p);
	if (bytes <= 32768)
		expect("double free of %p (a block of %zu bytes)", held, malloc_usable_size(held));
	else
		expect("double free of %p", held);
	free(p);
	free(held);
}

SIMPLE_CASE(double_free_1, double_free_of(1))
SIMPLE_CASE(double_free_16, double_free_of(16))
SIMPLE_CASE(double_free_64, double_free_of(64))
SIMPLE_CASE(double_free_100, double_free_of(100))
SIMPLE_CASE(double_free_1000, double_free_of(1000))
SIMPLE_CASE(double_free_5000, double_free_of(5000))
SIMPLE_CASE(double_free_32768, double_free_of(32768))
SIMPLE_CASE(double_free_100000, double_free_of(100000))
SIMPLE_CASE(double_free_5000000, double_free_of(5000000))

static void double_free_a_b_a(void)
{
	void *a = malloc(200), *b = malloc(200), *held = hidden(a);

	expect("double free of %p (a block of %zu bytes)", held, malloc_usable_size(held));
	free(a);
	free(b);
	free(held);
}

static void double_free_far_apart(void)
{
	void *blocks[50], *held;

	for (unsigned i = 0; i < 50; i++)
		blocks[i] = malloc(300);
	held = hidden(blocks[0]);
	expect("double free of %p (a block of %zu bytes)", held, malloc_usable_size(held));
	for (unsigned i = 0; i < 40; i++)
		free(blocks[i]);
	free(held);
}

static void *free_in_thread(void *block)
{
	free(block);
	return NULL;
}

static void run_in_thread(void *(*function)(void *), void *argument)
{
	pthread_t thread;

	pthread_create(&thread, NULL, function, argument);
	pthread_join(thread, NULL);
}

/* The first free is another thread's, which has ended: its cache has gone back. */
static void double_free_after_thread(void)
{
	void *p, *held;

	keep_neighbours(400);
	p = malloc(400);
	held = hidden(p);
	expect("double free of %p (a block of %zu bytes)", held, malloc_usable_size(held));
	run_in_thread(free_in_thread, p);
	free(held);
}

static void double_free_in_thread(void)
{
	void *p, *held;

	keep_neighbours(400);
	p = malloc(400);
	held = hidden(p);
	expect("double free of %p (a block of %zu bytes)", held, malloc_usable_size(held));
	free(p);
	run_in_thread(free_in_thread, held);
}

static void double_free_after_trim(void)
{
	void *p, *held;

	keep_neighbours(500);
	p = malloc(500);
	held = hidden(p);
	expect("double free of %p (a block of %zu bytes)", held, malloc_usable_size(held));
	free(p);
	malloc_trim(0);
	free(held);
}

static void double_free_aligned(void)
{
	void *p = aligned_alloc(128, 256), *held = hidden(p);

	expect("double free of %p (a block of %zu bytes)", held, malloc_usable_size(held));
	free(p);
	free(held);
}

static void double_realloc(void)
{
	void *p = malloc(600), *held = hidden(p);

	expect("realloc of %p, which was freed already (a block of %zu bytes)", held,
	       malloc_usable_size(held));
	free(p);
	p = realloc(held, 900);
	(void)p;
}

static void double_realloc_large(void)
{
	void *p = malloc(600000), *held = hidden(p);

	expect("realloc of %p, which was freed already", held);
	free(p);
	p = realloc(held, 900000);
	(void)p;
}

static void double_usable_size(void)
{
	void *p = malloc(700), *held = hidden(p);

	expect("malloc_usable_size of %p, which was freed already (a block of %zu bytes)", held,
	       malloc_usable_size(held));
	free(p);
	malloc_usable_size(held);
}

/* ---- not ours ---- */

__attribute__((noinline)) static void foreign(void *pointer, const char *function)
{
	expect("%s of %p, which is not a block of this heap", function, pointer);
	if (function[0] == 'f')
		free(pointer);
	else if (function[0] == 'r')
		pointer = realloc(pointer, 100);
	else
		malloc_usable_size(pointer);
	__asm__ volatile(""
			 :
			 :
			 : "memory"); /* no jump into free: the caller must be this function */
}

static void free_stack(void)
{
	char bytes[64] __attribute__((aligned(16)));

	foreign(hidden(bytes), "free");
}

SIMPLE_CASE(free_global, foreign(hidden(global_bytes), "free"))
SIMPLE_CASE(free_constant, foreign(hidden((void *)(uintptr_t) "text"), "free"))
SIMPLE_CASE(free_code, foreign(at((uintptr_t)&free_code), "free"))
SIMPLE_CASE(free_null_page, foreign(at(8), "free"))
SIMPLE_CASE(free_null_page_end, foreign(at(4095), "free"))
SIMPLE_CASE(free_garbage, foreign(at(0x123456789a0), "free"))
SIMPLE_CASE(free_unaligned_garbage, foreign(at(0x4141414141414141), "free"))
SIMPLE_CASE(free_user_space_end, foreign(at(0x7ffffffff000), "free"))
SIMPLE_CASE(free_non_canonical, foreign(at(0x8000000000000000), "free"))
SIMPLE_CASE(free_kernel, foreign(at(0xffff888000000000), "free"))
SIMPLE_CASE(free_minus_1, foreign(at(UINTPTR_MAX), "free"))
SIMPLE_CASE(free_minus_16, foreign(at(UINTPTR_MAX - 15), "free"))
SIMPLE_CASE(realloc_global, foreign(hidden(global_bytes), "realloc"))
SIMPLE_CASE(realloc_kernel, foreign(at(0xffff888000000000), "realloc"))
SIMPLE_CASE(realloc_null_page, foreign(at(16), "realloc"))
SIMPLE_CASE(usable_size_global, foreign(hidden(global_bytes), "malloc_usable_size"))
SIMPLE_CASE(usable_size_minus_1, foreign(at(UINTPTR_MAX), "malloc_usable_size"))

static void free_mapped(void)
{
	void *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	foreign(hidden(map), "free");
	munmap(map, 8192);
}

/* ---- not at a block's start ---- */

static void interior(char *block, size_t offset, const char *function)
{
	void *inside = hidden(block + offset);

	expect("%s of %p, which is %zu bytes into a block of %zu bytes at %p", function, inside,
	       offset, malloc_usable_size(block), (void *)block);
	if (function[0] == 'f')
		free(inside);
	else if (function[0] == 'r')
		inside = realloc(inside, 100);
	else
		malloc_usable_size(inside);
}

static void interior_of(size_t bytes, size_t offset, const char *function)
{
	char *block = malloc(bytes);

	interior(block, offset, function);
	free(block);
}

SIMPLE_CASE(free_16_into_64, interior_of(64, 16, "free"))
SIMPLE_CASE(free_1_into_16, interior_of(16, 1, "free"))
SIMPLE_CASE(free_last_byte_of_1000, interior_of(1000, 999, "free"))
SIMPLE_CASE(free_8_into_large, interior_of(100000, 8, "free"))
SIMPLE_CASE(free_page_into_large, interior_of(100000, 8192, "free"))
SIMPLE_CASE(free_far_into_large, interior_of(5000000, 4999999, "free"))
SIMPLE_CASE(realloc_8_into_200, interior_of(200, 8, "realloc"))
SIMPLE_CASE(realloc_into_large, interior_of(300000, 65536, "realloc"))
SIMPLE_CASE(usable_size_4_into_64, interior_of(64, 4, "malloc_usable_size"))
SIMPLE_CASE(usable_size_into_large, interior_of(300000, 16, "malloc_usable_size"))

/* ---- wrong sizes ---- */

static void *function_named(const char *name)
{
	void *function = dlsym(RTLD_DEFAULT, name);

	if (!function) {
		say("absent %s\n", name);
		_exit(0);
	}
	return function;
}

static void sized(const char *name, size_t bytes, size_t claimed)
{
	void (*give)(void *, size_t);
	void *block = malloc(bytes);

	*(void **)&give = function_named(name);
	expect("sized free of %p with %zu bytes, but the block has %zu bytes", block, claimed,
	       malloc_usable_size(block));
	give(block, claimed);
}

SIMPLE_CASE(free_sized_too_large, sized("free_sized", 64, 128))
SIMPLE_CASE(free_sized_by_one, sized("free_sized", 64, 65))
SIMPLE_CASE(free_sized_too_small, sized("free_sized", 1000, 16))
SIMPLE_CASE(free_sized_zero, sized("free_sized", 1000, 0))
SIMPLE_CASE(free_sized_huge, sized("free_sized", 1000, SIZE_MAX))
SIMPLE_CASE(free_sized_large, sized("free_sized", 100000, 200000))
SIMPLE_CASE(free_sized_large_as_small, sized("free_sized", 100000, 100))
SIMPLE_CASE(delete_too_large, sized("_ZdlPvm", 64, 500))
SIMPLE_CASE(delete_too_small, sized("_ZdlPvm", 500, 64))
SIMPLE_CASE(delete_array_too_small, sized("_ZdaPvm", 500, 64))

static void aligned_sized(size_t alignment, size_t bytes, size_t claimed)
{
	void (*give)(void *, size_t, size_t);
	void *block = aligned_alloc(alignment, bytes);

	*(void **)&give = function_named("free_aligned_sized");
	expect("sized free of %p with %zu bytes, but the block has %zu bytes", block, claimed,
	       malloc_usable_size(block));
	give(block, alignment, claimed);
}

SIMPLE_CASE(free_aligned_sized_too_large, aligned_sized(64, 128, 1024))

static void free_aligned_sized_wrong_alignment(void)
{
	void (*give)(void *, size_t, size_t);
	char *block = malloc(64);

	/* One of two neighbours is not on a page's start. */
	if ((uintptr_t)block % 4096 == 0)
		block = malloc(64);
	*(void **)&give = function_named("free_aligned_sized");
	expect("aligned free of %p with alignment 4096, but the block has 64 bytes", (void *)block);
	give(block, 4096, 64);
}

#define CASE(function)                                                                             \
	{                                                                                          \
#function, function                                                                \
	}
static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	CASE(double_free_1),
	CASE(double_free_16),
	CASE(double_free_64),
	CASE(double_free_100),
	CASE(double_free_1000),
	CASE(double_free_5000),
	CASE(double_free_32768),
	CASE(double_free_100000),
	CASE(double_free_5000000),
	CASE(double_free_a_b_a),
	CASE(double_free_far_apart),
	CASE(double_free_after_thread),
	CASE(double_free_in_thread),
	CASE(double_free_after_trim),
	CASE(double_free_aligned),
	CASE(double_realloc),
	CASE(double_realloc_large),
	CASE(double_usable_size),
	CASE(free_stack),
	CASE(free_global),
	CASE(free_constant),
	CASE(free_code),
	CASE(free_null_page),
	CASE(free_null_page_end),
	CASE(free_garbage),
	CASE(free_unaligned_garbage),
	CASE(free_user_space_end),
	CASE(free_non_canonical),
	CASE(free_kernel),
	CASE(free_minus_1),
	CASE(free_minus_16),
	CASE(free_mapped),
	CASE(realloc_global),
	CASE(realloc_kernel),
	CASE(realloc_null_page),
	CASE(usable_size_global),
	CASE(usable_size_minus_1),
	CASE(free_16_into_64),
	CASE(free_1_into_16),
	CASE(free_last_byte_of_1000),
	CASE(free_8_into_large),
	CASE(free_page_into_large),
	CASE(free_far_into_large),
	CASE(realloc_8_into_200),
	CASE(realloc_into_large),
	CASE(usable_size_4_into_64),
	CASE(usable_size_into_large),
	CASE(free_sized_too_large),
	CASE(free_sized_by_one),
	CASE(free_sized_too_small),
	CASE(free_sized_zero),
	CASE(free_sized_huge),
	CASE(free_sized_large),
	CASE(free_sized_large_as_small),
	CASE(delete_too_large),
	CASE(delete_too_small),
	CASE(delete_array_too_small),
	CASE(free_aligned_sized_too_large),
	CASE(free_aligned_sized_wrong_alignment),
};
enum { CASES = sizeof(cases) / sizeof(cases[0]) };

/* Every offset 1 .. size - 1 of blocks of several classes. */
static void every_offset(void)
{
	static const size_t sizes[] = {8,    16,   32,   48,   64,   112,  208,
				       1024, 1088, 1280, 2048, 8192, 40000};

	for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		char *block = malloc(sizes[s]);
		size_t usable = malloc_usable_size(block);

		for (size_t offset = 1; offset<usable; offset += usable> 3000 ? 61
					: usable > 500                        ? 7
									      : 1)
			interior(block, offset, "free");
		free(block);
	}
}

/* After all that the heap must still hand out each byte once. */
static bool heap_is_whole(void)
{
	enum { BLOCKS = 4000 };
	static unsigned char *block[BLOCKS];
	static size_t size[BLOCKS];
	struct rng rng = {99};

	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < BLOCKS; i++) {
			if (block[i] && rng_below(&rng, 2))
				continue;
			for (size_t k = 0; block[i] && k < size[i]; k++)
				if (block[i][k] != (unsigned char)i)
					return false;
			free(block[i]);
			size[i] = rng_below(&rng, i % 40 ? 1500 : 50000);
			block[i] = malloc(size[i]);
			if (!block[i])
				return false;
			memset(block[i], (int)i, size[i]);
		}
	}
	for (unsigned i = 0; i < BLOCKS; i++)
		free(block[i]);
	return true;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "list";

	for (unsigned i = 0; i < CASES; i++) {
		if (!strcmp(name, "list"))
			say("%s\n", cases[i].name);
		else if (!strcmp(name, "all") || !strcmp(name, cases[i].name))
			cases[i].run();
	}
	if (!strcmp(name, "all")) {
		every_offset();
		say("heap %s\n", heap_is_whole() ? "whole" : "broken");
	}
	return 0;
}
