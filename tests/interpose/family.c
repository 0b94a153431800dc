/* family.c - every function of the malloc family against the letter of C11, C23, POSIX and glibc.
 *
 * One program in four forms: preloaded (this file alone), linked with libgyre.so (family_linked.c),
 * and with libgyre.a in a dynamic and in a static program (family_archive_static.c,
 * family_static.c).
 *
 * Each group is one requirement. Sizes run over a grid that crosses every size class boundary of
 * the formula, the end of the classes (32 KiB) and whole pages and huge pages up to 64 MiB.
 * Contents are checked by a pattern that depends on the block, so that overlapping blocks show.
 */
#include "interpose/tap.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <regex.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__GNUC__) && !defined(__clang__)
/* Requests that must fail, and blocks that outlive a realloc that failed, are what is tested. */
#pragma GCC diagnostic ignored "-Walloc-size-larger-than="
#pragma GCC diagnostic ignored "-Wuse-after-free"
#endif

#define MIB ((size_t)1 << 20)
#define HUGE ((size_t)1 << 46) /* more than any heap's range */

/* C23's two, which glibc 2.36 lacks: found at run time where the program was not linked with us. */
static void (*sized)(void *, size_t);
static void (*aligned_sized)(void *, size_t, size_t);
#ifdef FAMILY_DIRECT
void free_sized(void *, size_t);
void free_aligned_sized(void *, size_t, size_t);
void cfree(void *);

static void find_sized(void)
{
	sized = free_sized;
	aligned_sized = free_aligned_sized;
}
#else
static void find_sized(void)
{
	*(void **)&sized = dlsym(RTLD_DEFAULT, "free_sized");
	*(void **)&aligned_sized = dlsym(RTLD_DEFAULT, "free_aligned_sized");
}
#endif

static const size_t grid[] = {
	1,
	2,
	7,
	8,
	9,
	15,
	16,
	17,
	24,
	31,
	32,
	33,
	48,
	63,
	64,
	65,
	72,
	73,
	96,
	97,
	100,
	128,
	129,
	255,
	256,
	257,
	500,
	512,
	513,
	1000,
	1024,
	1025,
	1087,
	1088,
	1089,
	1500,
	2000,
	2048,
	2049,
	4000,
	4095,
	4096,
	4097,
	6000,
	8191,
	8192,
	8193,
	12345,
	16384,
	16385,
	20000,
	32767,
	32768,
	32769,
	40960,
	40961,
	65535,
	65536,
	65537,
	100000,
	131072,
	200000,
	262144,
	262145,
	500000,
	MIB - 1,
	MIB,
	MIB + 1,
	2 * MIB - 1,
	2 * MIB,
	2 * MIB + 1,
	3 * MIB,
	4 * MIB + 4096,
	5000000,
	8 * MIB,
	16 * MIB + 1,
	33 * MIB,
	64 * MIB,
};
enum { GRID = sizeof(grid) / sizeof(grid[0]) };

/* Sizes that must fail, whatever memory there is. */
static const size_t impossible[] = {
	(size_t)PTRDIFF_MAX + 1,
	(size_t)PTRDIFF_MAX + 4097,
	SIZE_MAX / 2 + 2,
	SIZE_MAX - (1u << 21),
	SIZE_MAX - 8192,
	SIZE_MAX - 4096,
	SIZE_MAX - 4095,
	SIZE_MAX - 64,
	SIZE_MAX - 16,
	SIZE_MAX - 15,
	SIZE_MAX - 8,
	SIZE_MAX - 7,
	SIZE_MAX - 1,
	SIZE_MAX,
	/* within the rule, beyond any machine */
	PTRDIFF_MAX,
	PTRDIFF_MAX - 1,
	PTRDIFF_MAX - 8192,
	(size_t)1 << 62,
	(size_t)1 << 48,
};
enum { IMPOSSIBLE = sizeof(impossible) / sizeof(impossible[0]) };

/* Marks the first and last page of a block and one byte in each 4093 between. */
static unsigned char mark_of(size_t offset, unsigned seed)
{
	return (unsigned char)((offset * 131 + (offset >> 8) * 7 + seed) | 1);
}

static void mark(void *block, size_t bytes, unsigned seed)
{
	unsigned char *p = block;

	for (size_t i = 0; i < bytes; i += i < 4096 || i + 4096 >= bytes ? 1 : 4093)
		p[i] = mark_of(i, seed);
	for (size_t i = bytes > 4096 ? bytes - 4096 : 0; i < bytes; i++)
		p[i] = mark_of(i, seed);
}

/* Of a block that was marked with `marked` bytes, the first `bytes` are as they were. */
static bool marked_as(const void *block, size_t bytes, size_t marked, unsigned seed)
{
	const unsigned char *p = block;

	for (size_t i = 0; i < bytes; i += i < 4096 || i + 4096 >= marked ? 1 : 4093)
		if (p[i] != mark_of(i, seed))
			return false;
	return true;
}

static bool is_aligned(const void *block, size_t alignment)
{
	return (uintptr_t)block % alignment == 0;
}

/* What C11 7.22.3 asks of a block of this size: any object that fits (C23's words). */
static size_t natural_alignment(size_t bytes)
{
	size_t alignment = 1;

	while (alignment * 2 <= bytes && alignment < _Alignof(max_align_t))
		alignment *= 2;
	return alignment;
}

static void test_malloc(void)
{
	group("malloc gives aligned and wholly usable blocks of every size to 40,000");
	for (size_t bytes = 1; bytes <= 40000; bytes += bytes < 2200 ? 1 : 37) {
		unsigned char *p = malloc(bytes), *q = malloc(bytes);

		EXPECT(p && q && p != q, "size %zu", bytes);
		EXPECT(is_aligned(p, natural_alignment(bytes)), "size %zu at %p", bytes, (void *)p);
		EXPECT(malloc_usable_size(p) >= bytes, "size %zu usable %zu", bytes,
		       malloc_usable_size(p));
		memset(p, 0xa5, malloc_usable_size(p));
		memset(q, 0x5a, malloc_usable_size(q));
		EXPECT(p[0] == 0xa5 && p[bytes - 1] == 0xa5, "size %zu overlaps", bytes);
		free(p);
		EXPECT(q[0] == 0x5a && q[bytes - 1] == 0x5a, "size %zu changed by a free", bytes);
		free(q);
	}
	group_end();

	group("malloc over the grid to 64 MiB");
	for (unsigned i = 0; i < GRID; i++) {
		void *p = malloc(grid[i]);

		EXPECT(p, "size %zu", grid[i]);
		EXPECT(is_aligned(p, natural_alignment(grid[i])), "size %zu", grid[i]);
		EXPECT(malloc_usable_size(p) >= grid[i], "size %zu", grid[i]);
		mark(p, malloc_usable_size(p), i);
		EXPECT(marked_as(p, malloc_usable_size(p), malloc_usable_size(p), i), "size %zu",
		       grid[i]);
		free(p);
	}
	group_end();

	group("malloc(0) gives unique blocks");
	for (unsigned i = 0; i < 1000; i++) {
		void *p = malloc(0), *q = malloc(0), *r = calloc(0, 5), *s = calloc(5, 0);

		EXPECT(p && q && r && s && p != q && p != r && r != s && q != s, "round %u", i);
		free(p), free(q), free(r), free(s);
	}
	group_end();
}

static void test_overlap(void)
{
	enum { BLOCKS = 20000 };
	static void *block[BLOCKS];
	static size_t size[BLOCKS];
	struct rng rng = {42};
	bool good = true;

	group("20,000 random blocks keep their contents, three rounds");
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < BLOCKS; i++) {
			size[i] = rng_below(&rng, i % 50 ? 1200 : 60000);
			block[i] = malloc(size[i]);
			EXPECT(block[i], "size %zu", size[i]);
			mark(block[i], size[i], i);
		}
		for (unsigned i = round & 1; i < BLOCKS; i += 2) {
			good &= marked_as(block[i], size[i], size[i], i);
			free(block[i]);
			size[i] = rng_below(&rng, 3000);
			block[i] = malloc(size[i]);
			mark(block[i], size[i], i);
		}
		for (unsigned i = 0; i < BLOCKS; i++) {
			good &= marked_as(block[i], size[i], size[i], i);
			free(block[i]);
		}
	}
	EXPECT(good, "a block was overwritten");
	group_end();
}

static bool all_zero(const unsigned char *p, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (p[i])
			return false;
	return true;
}

static void test_calloc(void)
{
	group("calloc zeroes, also what was dirty before");
	for (unsigned i = 0; i < GRID; i++) {
		void *dirty[4];
		unsigned char *p;

		for (unsigned d = 0; d < 4; d++) {
			dirty[d] = malloc(grid[i]);
			EXPECT(dirty[d], "size %zu", grid[i]);
			memset(dirty[d], 0xff, grid[i]);
			if (grid[i] > MIB)
				d = 3, dirty[1] = dirty[2] = dirty[3] = NULL;
		}
		for (unsigned d = 0; d < 4; d++)
			free(dirty[d]);
		p = calloc(1, grid[i]);
		EXPECT(p && all_zero(p, grid[i]), "size %zu", grid[i]);
		free(p);
		p = calloc(grid[i], 1);
		EXPECT(p && all_zero(p, grid[i]), "count %zu", grid[i]);
		free(p);
	}
	group_end();

	group("calloc fails with ENOMEM where the product overflows");
	for (unsigned bits = 1; bits < 64; bits++) {
		size_t a = (size_t)1 << bits, b = SIZE_MAX / a + 1;

		errno = 0;
		EXPECT(!calloc(a, b), "%zu x %zu", a, b);
		EXPECT(errno == ENOMEM, "errno %d", errno);
		errno = 0;
		EXPECT(!calloc(b, a), "%zu x %zu", b, a);
		EXPECT(errno == ENOMEM, "errno %d", errno);
	}
	EXPECT(!calloc(SIZE_MAX, SIZE_MAX), "largest squared");
	group_end();
}

static void test_impossible(void)
{
	group("sizes beyond PTRDIFF_MAX or any machine fail with ENOMEM");
	for (unsigned i = 0; i < IMPOSSIBLE; i++) {
		size_t n = impossible[i];
		void *block = malloc(100), *untouched = &n;

		mark(block, 100, 3);
#define MUST_FAIL(call)                                                                            \
	do {                                                                                       \
		errno = 0;                                                                         \
		EXPECT(!(call), "size %zu", n);                                                    \
		EXPECT(errno == ENOMEM, "size %zu: errno %d", n, errno);                           \
	} while (0)
		MUST_FAIL(malloc(n));
		MUST_FAIL(calloc(1, n));
		MUST_FAIL(calloc(n, 1));
		MUST_FAIL(realloc(NULL, n));
		MUST_FAIL(realloc(block, n));
		MUST_FAIL(reallocarray(block, n, 1));
		MUST_FAIL(reallocarray(block, 1, n));
		MUST_FAIL(aligned_alloc(16, n));
		MUST_FAIL(aligned_alloc(4096, n));
		MUST_FAIL(memalign(64, n));
		MUST_FAIL(memalign(MIB, n));
		MUST_FAIL(valloc(n));
		MUST_FAIL(pvalloc(n));
		errno = 77;
		EXPECT(posix_memalign(&untouched, 64, n) == ENOMEM, "size %zu", n);
		EXPECT(errno == 77, "errno %d", errno);
		EXPECT(untouched == &n, "size %zu: the pointer was written", n);
		EXPECT(marked_as(block, 100, 100, 3), "size %zu: the block has changed", n);
		free(block);
	}
	group_end();
}

static void test_realloc(void)
{
	group("realloc keeps contents, over all pairs of the grid");
	for (unsigned i = 0; i < GRID; i++) {
		for (unsigned j = 0; j < GRID; j++) {
			size_t from = grid[i], to = grid[j];
			void *p, *q;

			if (from > MIB && to > MIB && (i + j) % 3)
				continue;
			p = malloc(from);
			mark(p, from, i);
			q = realloc(p, to);
			EXPECT(q, "%zu to %zu", from, to);
			EXPECT(marked_as(q, from < to ? from : to, from, i), "%zu to %zu", from,
			       to);
			EXPECT(malloc_usable_size(q) >= to, "%zu to %zu", from, to);
			EXPECT(is_aligned(q, natural_alignment(to)), "%zu to %zu", from, to);
			memset((char *)q + to - 1, 1, 1);
			free(q);
		}
	}
	group_end();

	group("realloc grows a block from 1 byte to 64 MiB and back");
	{
		size_t bytes = 1;
		unsigned char *p = malloc(1);

		p[0] = 1;
		while (bytes < 64 * MIB) {
			size_t next = bytes + bytes / 3 + 1;

			p = realloc(p, next);
			EXPECT(p && p[0] == 1 && p[bytes - 1] == 1, "%zu to %zu", bytes, next);
			memset(p + bytes, 1, next - bytes);
			bytes = next;
		}
		for (size_t i = 0; i < bytes; i++)
			if (p[i] != 1) {
				EXPECT(0, "byte %zu", i);
				break;
			}
		while (bytes > 1) {
			bytes -= bytes / 3 + 1;
			p = realloc(p, bytes ? bytes : 1);
			EXPECT(p && p[0] == 1 && p[bytes ? bytes - 1 : 0] == 1, "at %zu", bytes);
			if (!bytes)
				break;
		}
		free(p);
	}
	group_end();

	group("realloc(NULL, n) is malloc; realloc(p, 0) frees and returns NULL, as glibc");
	{
		void *p = realloc(NULL, 100), *q = realloc(NULL, 0);

		EXPECT(p && q, "%p %p", p, q);
		EXPECT(!realloc(p, 0), "a block came back");
		EXPECT(!realloc(q, 0), "a block came back");
		p = malloc(5 * MIB);
		EXPECT(!realloc(p, 0), "a block came back");
		p = reallocarray(NULL, 10, 10);
		EXPECT(p, "reallocarray(NULL)");
		EXPECT(!reallocarray(p, 0, 10), "a block came back");
		p = reallocarray(NULL, 10, 0);
		EXPECT(p, "reallocarray(NULL, 10, 0)");
		free(p);
	}
	group_end();

	group("reallocarray checks the product and keeps the block");
	for (unsigned bits = 1; bits < 64; bits++) {
		size_t a = (size_t)1 << bits, b = SIZE_MAX / a + 1;
		void *p = reallocarray(NULL, 25, 4);

		mark(p, 100, bits);
		errno = 0;
		EXPECT(!reallocarray(p, a, b) && errno == ENOMEM, "%zu x %zu, errno %d", a, b,
		       errno);
		EXPECT(marked_as(p, 100, 100, bits), "contents after %zu x %zu", a, b);
		p = reallocarray(p, 50, 4);
		EXPECT(p && marked_as(p, 100, 100, bits), "grown");
		free(p);
	}
	group_end();
}

enum aligned_function { POSIX_MEMALIGN, ALIGNED_ALLOC, MEMALIGN, ALIGNED_FUNCTIONS };

static void *take_aligned(enum aligned_function function, size_t alignment, size_t bytes)
{
	void *block = NULL;

	if (function == POSIX_MEMALIGN) {
		int result;

		if (alignment < sizeof(void *))
			alignment = sizeof(void *);
		result = posix_memalign(&block, alignment, bytes);
		return result ? NULL : block;
	}
	return function == ALIGNED_ALLOC ? aligned_alloc(alignment, bytes)
					 : memalign(alignment, bytes);
}

/* One of a size and then one more, which the thread's cache has: aligned, and as large. */
static void test_aligned_again(void)
{
	group("an aligned block that was freed comes back for the same request");
	for (unsigned f = 0; f < ALIGNED_FUNCTIONS; f++) {
		for (size_t alignment = 1; alignment <= 16384; alignment *= 2) {
			for (size_t bytes = 0; bytes < 33000; bytes += 1 + bytes / 16) {
				void *p = take_aligned(f, alignment, bytes), *q;
				size_t usable = malloc_usable_size(p);

				free(p);
				q = take_aligned(f, alignment, bytes);
				EXPECT(p && q && is_aligned(q, alignment) && usable >= bytes &&
					       malloc_usable_size(q) == usable,
				       "alignment %zu size %zu: %p of %zu", alignment, bytes, q,
				       usable);
				free(q);
			}
		}
	}
	group_end();
}

static void test_aligned(void)
{
	static const size_t sizes[] = {0,    1,    8,    24,   40,   64,    72,     100,
				       1000, 1088, 4096, 5000, 8192, 33000, 100000, 3 * MIB};

	group("aligned blocks are aligned, usable and survive realloc, to 64 MiB of alignment");
	for (unsigned f = 0; f < ALIGNED_FUNCTIONS; f++) {
		for (size_t alignment = 1; alignment <= 64 * MIB; alignment *= 2) {
			for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
				size_t bytes = sizes[s];
				void *p = take_aligned(f, alignment, bytes),
				     *q = take_aligned(f, alignment, bytes);

				EXPECT(p && q && p != q, "alignment %zu size %zu", alignment,
				       bytes);
				if (!p || !q) {
					free(p), free(q);
					continue;
				}
				EXPECT(is_aligned(p, alignment), "alignment %zu size %zu: %p",
				       alignment, bytes, p);
				EXPECT(is_aligned(q, alignment), "alignment %zu size %zu: %p",
				       alignment, bytes, q);
				EXPECT(malloc_usable_size(p) >= bytes, "alignment %zu size %zu",
				       alignment, bytes);
				mark(p, malloc_usable_size(p), f);
				mark(q, malloc_usable_size(q), f + 9);
				EXPECT(marked_as(p, bytes, malloc_usable_size(p), f),
				       "alignment %zu size %zu", alignment, bytes);
				mark(p, bytes, 5);
				p = realloc(p, bytes + 50);
				EXPECT(p && marked_as(p, bytes, bytes, 5),
				       "alignment %zu size %zu grown", alignment, bytes);
				q = realloc(q, bytes / 2 + 1);
				EXPECT(q, "alignment %zu size %zu shrunk", alignment, bytes);
				free(p);
				free(q);
			}
		}
	}
	group_end();

	group("many aligned blocks live together without overlap");
	{
		enum { BLOCKS = 3000 };
		static void *block[BLOCKS];
		static size_t size[BLOCKS];
		struct rng rng = {7};
		bool good = true;

		for (unsigned i = 0; i < BLOCKS; i++) {
			size_t alignment = (size_t)1 << rng_below(&rng, 14);

			size[i] = rng_below(&rng, 2000);
			block[i] = take_aligned(i % ALIGNED_FUNCTIONS, alignment, size[i]);
			EXPECT(block[i] && is_aligned(block[i], alignment), "alignment %zu",
			       alignment);
			mark(block[i], size[i], i);
		}
		for (unsigned i = 0; i < BLOCKS; i++) {
			good &= marked_as(block[i], size[i], size[i], i);
			free(block[i]);
		}
		EXPECT(good, "a block was overwritten");
	}
	group_end();

	group("huge alignments succeed aligned or fail with ENOMEM");
	for (unsigned bits = 27; bits < 64; bits++) {
		size_t alignment = (size_t)1 << bits;

		for (unsigned f = 0; f < ALIGNED_FUNCTIONS; f++) {
			void *p;

			errno = 0;
			p = take_aligned(f, alignment, 100);
			EXPECT(p || f == POSIX_MEMALIGN || errno == ENOMEM, "2^%u: errno %d", bits,
			       errno);
			EXPECT(is_aligned(p, alignment), "2^%u: %p", bits, p);
			if (p)
				mark(p, 100, bits);
			free(p);
			errno = 0;
			p = take_aligned(f, alignment, PTRDIFF_MAX);
			EXPECT(!p && (f == POSIX_MEMALIGN || errno == ENOMEM),
			       "2^%u of PTRDIFF_MAX", bits);
		}
	}
	group_end();
}

static void test_bad_alignment(void)
{
	static const size_t bad[] = {0,
				     3,
				     5,
				     6,
				     7,
				     9,
				     12,
				     24,
				     48,
				     100,
				     4095,
				     4097,
				     SIZE_MAX,
				     SIZE_MAX / 2,
				     ((size_t)1 << 63) + 1};

	group("posix_memalign refuses bad alignments, leaves errno and the pointer alone");
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		void *p = &p;

		errno = 77;
		EXPECT(posix_memalign(&p, bad[i], 64) == EINVAL, "alignment %zu", bad[i]);
		EXPECT(errno == 77 && p == &p, "alignment %zu: errno %d", bad[i], errno);
	}
	for (size_t alignment = 1; alignment < sizeof(void *); alignment *= 2) {
		void *p = &p;

		EXPECT(posix_memalign(&p, alignment, 64) == EINVAL && p == &p, "alignment %zu",
		       alignment);
	}
	{
		void *p = NULL;

		errno = 77;
		EXPECT(!posix_memalign(&p, 8, 64) && p && errno == 77, "errno %d", errno);
		free(p);
	}
	group_end();
#ifndef FAMILY_GLIBC
	group("aligned_alloc refuses bad alignments with EINVAL");
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		errno = 0;
		EXPECT(!aligned_alloc(bad[i], 64) && errno == EINVAL, "alignment %zu: errno %d",
		       bad[i], errno);
	}
	group_end();
#endif
	const volatile size_t beyond = ((size_t)1 << 63) + 1;

	group("memalign raises an alignment to a power of 2 as glibc does");
	for (size_t alignment = 0; alignment < 5000; alignment += 13) {
		void *p = memalign(alignment, 64);
		size_t power = 1;

		while (power < alignment)
			power *= 2;
		EXPECT(p && is_aligned(p, power), "alignment %zu: %p", alignment, p);
		free(p);
	}
	errno = 0;
	EXPECT(!memalign(beyond, 64) && errno == EINVAL, "errno %d", errno);
	group_end();

	group("valloc and pvalloc");
	for (unsigned i = 0; i < GRID; i++) {
		size_t page = (size_t)sysconf(_SC_PAGESIZE);
		void *p = valloc(grid[i]), *q = pvalloc(grid[i]);

		EXPECT(p && is_aligned(p, page) && malloc_usable_size(p) >= grid[i], "size %zu",
		       grid[i]);
		EXPECT(q && is_aligned(q, page) &&
			       malloc_usable_size(q) >= (grid[i] + page - 1) / page * page,
		       "size %zu", grid[i]);
		memset(q, 1, (grid[i] + page - 1) / page * page);
		free(p);
		free(q);
	}
	group_end();
}

static void test_errno(void)
{
	group("free keeps errno; calls that succeed leave it alone");
	for (unsigned i = 0; i < GRID; i++) {
		void *p, *q;

		errno = 77;
		p = malloc(grid[i]);
		EXPECT(errno == 77, "malloc(%zu): %d", grid[i], errno);
		q = calloc(1, grid[i]);
		EXPECT(errno == 77, "calloc(%zu): %d", grid[i], errno);
		p = realloc(p, grid[i] * 2);
		EXPECT(errno == 77, "realloc(%zu): %d", grid[i], errno);
		free(p);
		EXPECT(errno == 77, "free(%zu): %d", grid[i], errno);
		free(q);
		EXPECT(errno == 77, "free(%zu): %d", grid[i], errno);
		p = aligned_alloc(64, grid[i]);
		EXPECT(errno == 77, "aligned_alloc(%zu): %d", grid[i], errno);
		errno = 0;
		free(p);
		EXPECT(errno == 0, "free(%zu): %d", grid[i], errno);
	}
	errno = 77;
	free(NULL);
	EXPECT(errno == 77, "%d", errno);
	malloc_trim(0);
	EXPECT(errno == 77, "malloc_trim: %d", errno);
	group_end();
}

static void test_usable(void)
{
	group("malloc_usable_size is 0 for NULL, stable, and all of it may be written");
	EXPECT(malloc_usable_size(NULL) == 0, "%zu", malloc_usable_size(NULL));
	for (unsigned i = 0; i < GRID; i++) {
		enum { TOGETHER = 5 };
		void *p[TOGETHER];
		size_t usable[TOGETHER];

		for (unsigned k = 0; k < TOGETHER; k++) {
			p[k] = malloc(grid[i]);
			usable[k] = malloc_usable_size(p[k]);
			mark(p[k], usable[k], k);
			if (grid[i] > MIB)
				for (; k < TOGETHER - 1; k++)
					p[k + 1] = NULL;
		}
		for (unsigned k = 0; k < TOGETHER; k++) {
			if (p[k]) {
				EXPECT(malloc_usable_size(p[k]) == usable[k], "size %zu", grid[i]);
				EXPECT(marked_as(p[k], usable[k], usable[k], k), "size %zu",
				       grid[i]);
			}
			free(p[k]);
		}
	}
	group_end();

	group("a block may be resized to its usable size in place");
	for (unsigned i = 0; i < GRID; i++) {
		void *p = malloc(grid[i]);
		size_t usable = malloc_usable_size(p);
		uintptr_t before = (uintptr_t)p;

		p = realloc(p, usable);
		EXPECT((uintptr_t)p == before, "size %zu, usable %zu", grid[i], usable);
		free(p);
	}
	group_end();
}

static void test_sized(void)
{
	if (!sized || !aligned_sized) {
		say("skip - free_sized and free_aligned_sized: this allocator has none\n");
		return;
	}
	group("free_sized takes back what malloc, calloc and realloc gave");
	for (unsigned i = 0; i < GRID; i++) {
		void *p = malloc(grid[i]);

		errno = 77;
		sized(p, grid[i]);
		sized(calloc(1, grid[i]), grid[i]);
		p = malloc(10);
		p = realloc(p, grid[i]);
		sized(p, grid[i]);
		p = malloc(grid[i]);
		p = realloc(p, grid[i] / 2 + 1);
		sized(p, grid[i] / 2 + 1);
		EXPECT(errno == 77, "errno %d", errno);
	}
	for (size_t bytes = 0; bytes < 40000; bytes += bytes < 2200 ? 1 : 37)
		sized(malloc(bytes), bytes);
	sized(NULL, 0);
	sized(NULL, 100);
	group_end();

	group("free_aligned_sized takes back what aligned_alloc gave");
	for (size_t alignment = 1; alignment <= 4 * MIB; alignment *= 2)
		for (unsigned i = 0; i < GRID; i += 3)
			if (grid[i] + alignment < 40 * MIB)
				aligned_sized(aligned_alloc(alignment, grid[i]), alignment,
					      grid[i]);
	aligned_sized(NULL, 64, 64);
	aligned_sized(aligned_alloc(64, 0), 64, 0);
	EXPECT(1, "no report");
	group_end();
}

static void test_information(void)
{
	char *text = NULL;
	size_t length = 0;
	FILE *out;
	void *small[1000], *large = malloc(3 * MIB);
	struct mallinfo2 info;

	for (unsigned i = 0; i < 1000; i++)
		small[i] = malloc(1000);
	group("mallinfo2 counts what is allocated");
	info = mallinfo2();
	EXPECT(info.uordblks + info.hblkhd >= 3 * MIB + 1000 * 1000, "uordblks %zu hblkhd %zu",
	       info.uordblks, info.hblkhd);
	EXPECT(info.uordblks + info.fordblks == info.arena, "arena %zu", info.arena);
	EXPECT(info.uordblks + info.hblkhd < 200 * MIB, "uordblks %zu", info.uordblks);
	group_end();
	for (unsigned i = 0; i < 1000; i++)
		free(small[i]);
	free(large);

	group("malloc_info writes XML; mallopt and malloc_trim answer");
	out = open_memstream(&text, &length);
	EXPECT(malloc_info(0, out) == 0, "failed");
	EXPECT(malloc_info(1, out) == EINVAL, "accepted an option");
	fclose(out);
	EXPECT(strstr(text, "<malloc version=") && strstr(text, "</malloc>"), "%.60s", text);
	free(text);
	EXPECT(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1, "M_MMAP_THRESHOLD");
	EXPECT(mallopt(M_ARENA_MAX, 2) == 1, "M_ARENA_MAX");
	EXPECT((unsigned)malloc_trim(0) <= 1, "more than 1");
	group_end();
}

static int any_entry(const struct dirent *entry)
{
	return entry->d_name[0] != '\0';
}

/* What libc allocates, we free; a block of another heap would be reported as misuse. */
static void test_libc(void)
{
	char *text = NULL;
	size_t capacity = 0;
	struct dirent **entries;
	regex_t regex;
	FILE *file;
	int count;

	group("what libc's own functions allocate can be freed and resized");
	free(strdup("text"));
	free(strndup("text", 2));
	EXPECT(asprintf(&text, "%0*d", 5000, 7) == 5000, "asprintf");
	text = realloc(text, 9000);
	free(text);
	free(getcwd(NULL, 0));
	free(realpath("/proc/self/exe", NULL));
	text = NULL;
	file = fopen("/proc/self/status", "r");
	while (getline(&text, &capacity, file) > 0)
		;
	fclose(file);
	free(text);
	count = scandir("/proc/self", &entries, any_entry, alphasort);
	EXPECT(count > 5, "scandir: %d", count);
	while (count > 0)
		free(entries[--count]);
	free(entries);
	EXPECT(!regcomp(&regex, "^(a|b)*[0-9]+$", REG_EXTENDED), "regcomp");
	EXPECT(!regexec(&regex, "abab12", 0, NULL, 0), "regexec");
	regfree(&regex);
	setenv("FAMILY", "1", 1);
	unsetenv("FAMILY");
	group_end();
}

int main(void)
{
	find_sized();
	test_malloc();
	test_overlap();
	test_calloc();
	test_impossible();
	test_realloc();
	test_aligned();
	test_aligned_again();
	test_bad_alignment();
	test_errno();
	test_usable();
	test_sized();
	test_information();
	test_libc();
	return tap_all_failures != 0;
}
