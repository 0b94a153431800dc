/* chain.h - call chains whose every frame is known, in objects compiled in a given way.
 *
 * What a stack walk must survive is decided by the compiler's flags, and one test program has one
 * set of them. So the chains are compiled while the test runs, from the source below, as shared
 * objects in a folder of their own, and called through dlopen. The functions are exported: dladdr
 * names the function that a return address lies in.
 */
#ifndef GYRE_TESTS_CHAIN_H
#define GYRE_TESTS_CHAIN_H

#include "base/config.h"
#include "trace/unwind.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHAIN_LINKS 12
#define SHOT_FRAMES 64

#define TABLES "-O2 -fomit-frame-pointer -fasynchronous-unwind-tables"
#define NO_TABLES                                                                                  \
	"-O2 -fno-omit-frame-pointer -fno-asynchronous-unwind-tables -fno-unwind-tables "          \
	"-fno-exceptions"

typedef int chain_visit(void *context);
typedef int chain_entry(chain_visit *visit, void *context);

/* A capture that asks for nothing but frames; inline, as the library's own. */
GY_INLINE unsigned capture_new(uintptr_t *frames, unsigned capacity, uintptr_t caller_pc)
{
	struct gy_stack_seen seen = {.use_note = false};

	return gy_stack_capture(frames, capacity, caller_pc, &seen);
}

/* A stack, taken by both walkers at the same place. */
struct shot {
	uintptr_t frames[SHOT_FRAMES];
	unsigned depth;
	void *trace[SHOT_FRAMES + 32];
	int trace_depth;
	unsigned capacity; /* 0: all */
};

static const char chain_source[] =
	"#include <alloca.h>\n"
	"typedef int visit(void *);\n"
	"int chain_0(visit *v, void *c);\n"
	"int chain_0(visit *v, void *c) { int r = v(c); __asm__ volatile(\"\" ::: \"memory\"); "
	"return r; }\n"
	"#ifdef REALIGN\n"
	"#define ROOM(n) volatile char room[32 + 24 * n] __attribute__((aligned(64))); \\\n"
	"	volatile char *more = alloca((unsigned)(n + (int)(long)c % 2)); more[0] = 1; "
	"room[1] = more[0];\n"
	"#else\n"
	"#define ROOM(n) volatile char room[ROOM_BYTES + 24 * n];\n"
	"#endif\n"
	"#ifndef ROOM_BYTES\n"
	"#define ROOM_BYTES 32\n"
	"#endif\n"
	"#define LINK(n, m) int chain_##n(visit *v, void *c); \\\n"
	"	__attribute__((noinline)) int chain_##n(visit *v, void *c) { \\\n"
	"		ROOM(n) int r; room[0] = 1; r = chain_##m(v, c); \\\n"
	"		__asm__ volatile(\"\" ::: \"memory\"); return r + room[0]; }\n"
	"LINK(1, 0) LINK(2, 1) LINK(3, 2) LINK(4, 3) LINK(5, 4) LINK(6, 5)\n"
	"LINK(7, 6) LINK(8, 7) LINK(9, 8) LINK(10, 9) LINK(11, 10)\n";

/* mkdtemp below TMPDIR; removed with what is in it by chain_cleanup. */
static char chain_folder[256];

static inline void chain_cleanup(void)
{
	char command[300];

	if (!chain_folder[0])
		return;
	snprintf(command, sizeof(command), "rm -rf '%s'", chain_folder);
	cr_expect(system(command) == 0);
	chain_folder[0] = '\0';
}

/* Compiles `source` into NAME.so with `flags`; the handle of the object. */
static inline void *chain_object(const char *name, const char *source, const char *flags)
{
	const char *base = getenv("TMPDIR"), *compiler = getenv("CC");
	char path[300], command[1024];
	void *handle;
	FILE *file;

	if (!chain_folder[0]) {
		snprintf(chain_folder, sizeof(chain_folder), "%s/gyre-chain-XXXXXX",
			 base ? base : "/tmp");
		cr_assert_not_null(mkdtemp(chain_folder));
	}
	snprintf(path, sizeof(path), "%s/%s.c", chain_folder, name);
	file = fopen(path, "w");
	cr_assert_not_null(file);
	fputs(source, file);
	fclose(file);
	snprintf(command, sizeof(command),
		 "%s -w -std=gnu11 -shared -fPIC -g0 %s -o '%s/%s.so' '%s'",
		 compiler && *compiler ? compiler : "cc", flags, chain_folder, name, path);
	cr_assert(system(command) == 0, "%s", command);
	snprintf(path, sizeof(path), "%s/%s.so", chain_folder, name);
	handle = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
	cr_assert_not_null(handle, "%s", dlerror());
	return handle;
}

static inline void *chain_symbol(void *handle, const char *name)
{
	void *symbol = dlsym(handle, name);

	cr_assert_not_null(symbol, "%s", name);
	return symbol;
}

/* The entry of the chain: its outermost link, which leads through all twelve. */
static inline chain_entry *chain_make(const char *name, const char *flags)
{
	return (chain_entry *)chain_symbol(chain_object(name, chain_source, flags), "chain_11");
}

/* What a link calls last: stands for malloc. */
__attribute__((noinline, unused)) static int shot_take(void *context)
{
	struct shot *shot = context;
	unsigned capacity = shot->capacity ? shot->capacity : SHOT_FRAMES;

	shot->depth = capture_new(shot->frames, capacity, (uintptr_t)__builtin_return_address(0));
	shot->trace_depth =
		backtrace(shot->trace, (int)(sizeof(shot->trace) / sizeof(shot->trace[0])));
	__asm__ volatile("" ::: "memory");
	return 0;
}

/* The same without the second opinion. */
__attribute__((noinline, unused)) static int shot_walk(void *context)
{
	struct shot *shot = context;

	shot->depth =
		capture_new(shot->frames, shot->capacity, (uintptr_t)__builtin_return_address(0));
	__asm__ volatile("" ::: "memory");
	return 0;
}

static inline const char *frame_name(uintptr_t frame)
{
	Dl_info info;

	return dladdr((void *)(frame - 1), &info) && info.dli_sname ? info.dli_sname : "?";
}

static inline void shot_print(const struct shot *shot)
{
	for (unsigned i = 0; i < shot->depth; i++)
		fprintf(stderr, "# frame %u %#lx %s\n", i, (unsigned long)shot->frames[i],
			frame_name(shot->frames[i]));
	for (int i = 0; i < shot->trace_depth; i++)
		fprintf(stderr, "# trace %d %p %s\n", i, shot->trace[i],
			frame_name((uintptr_t)shot->trace[i]));
}

/* The index of the first of `links` frames chain_0, chain_1, ... in a row; -1 if there are none. */
static inline int shot_find_chain(const struct shot *shot, unsigned from, unsigned links)
{
	for (unsigned start = from; start + links <= shot->depth; start++) {
		unsigned i = 0;
		char name[16];

		for (; i < links; i++) {
			snprintf(name, sizeof(name), "chain_%u", i);
			if (strcmp(frame_name(shot->frames[start + i]), name) != 0)
				break;
		}
		if (i == links)
			return (int)start;
	}
	return -1;
}

/* True if libgcc's walk, from malloc's caller on, is what was captured, or a beginning of it: it
 * ends where there are no tables. */
static inline bool shot_agrees(const struct shot *shot)
{
	int start = 0;

	while (start < shot->trace_depth && (uintptr_t)shot->trace[start] != shot->frames[0])
		start++;
	if (start == shot->trace_depth)
		return false;
	for (int i = start; i < shot->trace_depth && (unsigned)(i - start) < shot->depth; i++)
		if ((uintptr_t)shot->trace[i] != shot->frames[i - start])
			return false;
	return shot->trace_depth - start <= (int)shot->depth || shot->depth == SHOT_FRAMES ||
	       shot->depth == shot->capacity;
}

#endif
