/* hostile.c - a process that lies about itself: hostile { SEED | old | odd } [FILE OFFSET]
 *
 * It publishes a page of the documented layout (control_page.h), then damages it as SEED says:
 * some words of the header get values at the edge of what a reader might trust, names lose their
 * end, the memfd is unsealed, or shrinks and grows while it is read. It lives until stdin closes.
 * Seed 0 is an honest page, `old` one of ABI 1, `odd` one whose every stack is being written for
 * ever. With a FILE, that is mapped executable from OFFSET, as a library would be: the test
 * damages ELF files. Not linked with Gyre: the page alone makes it a target.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "control/control_page.h"

#define CLASSES 100u
#define OPTIONS 20u
#define BUCKETS 100u
#define BYTES ((size_t)1 << 20)

static struct gyre_control *page;
static uint64_t state;
static int descriptor;

static uint64_t draw(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545f4914f6cdd1dull;
}

/* Three stacks in the first three of them: 1, 2, 3 samples of 1 MiB, of which 1, 1, 1 live. */
static void buckets(void)
{
	struct gyre_control_bucket *bucket = (void *)((char *)page + page->bucket_offset);

	for (uint32_t i = 0; i < 3; i++) {
		bucket[i].depth = i + 1;
		bucket[i].alloc_objects = i + 1;
		bucket[i].free_objects = i;
		bucket[i].alloc_weight = (uint64_t)(i + 1) << 20;
		bucket[i].free_weight = (uint64_t)i << 20;
		bucket[i].alloc_weight_objects = 16 * (i + 1);
		bucket[i].free_weight_objects = 16 * i;
		for (uint32_t frame = 0; frame <= i; frame++)
			bucket[i].frames[frame] = 0x1000 + frame;
	}
}

static void honest(void)
{
	page->abi = GYRE_CONTROL_ABI;
	page->header_bytes = sizeof(*page);
	page->total_bytes = BYTES;
	page->pid = (uint32_t)getpid();
	page->heap_base = 0x200000000000;
	page->heap_reserved_bytes = 1ull << 40;
	page->page_bytes = 8192;
	strcpy(page->version, "0.0.0");
	page->class_count = CLASSES;
	page->class_bytes = sizeof(struct gyre_control_class);
	page->class_offset = sizeof(*page);
	page->option_count = OPTIONS;
	page->option_bytes = sizeof(struct gyre_control_option);
	page->option_offset = page->class_offset + CLASSES * sizeof(struct gyre_control_class);
	page->bucket_offset = page->option_offset + OPTIONS * sizeof(struct gyre_control_option);
	page->bucket_bytes = sizeof(struct gyre_control_bucket);
	page->bucket_count = BUCKETS;
	page->sample_bytes = 524288;
	buckets();
	memcpy(page->magic, GYRE_CONTROL_MAGIC, sizeof(page->magic));
}

/* As a library of ABI 1 made it: its tables began where the header of today goes on. */
static void old(void)
{
	page->abi = 1;
	page->header_bytes = GYRE_CONTROL_HEADER_1;
	page->class_offset = GYRE_CONTROL_HEADER_1;
	memset((char *)page + GYRE_CONTROL_HEADER_1, 1,
	       CLASSES * sizeof(struct gyre_control_class));
}

static void odd(void)
{
	struct gyre_control_bucket *bucket = (void *)((char *)page + page->bucket_offset);

	for (uint32_t i = 0; i < BUCKETS; i++) {
		bucket[i].seq = 1;
		bucket[i].depth = 1;
		bucket[i].alloc_objects = 1;
		bucket[i].alloc_weight = 1 << 20;
		bucket[i].frames[0] = 0x1000 + i;
	}
}

static uint64_t edge(void)
{
	static const uint64_t edges[] = {0,          1,          7,          15,         16,
					 4096,       4097,       BYTES - 1,  BYTES,      BYTES + 1,
					 0x7fffffff, 0x80000000, 0xffffffff, 1ull << 32, 1ull << 63,
					 ~0ull,      ~0ull - 7};

	return draw() % 4 ? edges[draw() % (sizeof(edges) / sizeof(edges[0]))] : draw();
}

static void damage(void)
{
	size_t from = offsetof(struct gyre_control, abi), count = 1 + draw() % 6;
	char *bytes = (char *)page;

	for (size_t i = 0; i < count; i++) {
		uint64_t value = edge();
		/* half of them in the part that describes the rest */
		size_t span = draw() % 2 ? sizeof(*page) - from - 8
					 : offsetof(struct gyre_control, totals) - from - 8;
		size_t at = from + draw() % span;

		if (draw() % 3) /* not the pid: that alone would end the story */
			at = at / 4 * 4;
		if (at <= offsetof(struct gyre_control, pid) + 3 &&
		    at + 8 > offsetof(struct gyre_control, pid))
			continue;
		memcpy(bytes + at, &value, draw() % 2 ? 4 : 8);
	}
	if (draw() % 2)
		for (size_t i = page->class_offset < BYTES ? page->class_offset : 0; i < BYTES / 2;
		     i++)
			bytes[sizeof(*page) + i % (BYTES - sizeof(*page))] = (char)draw();
	if (draw() % 2 && page->bucket_offset < BYTES - 100 * sizeof(struct gyre_control_bucket))
		for (size_t i = 0; i < 40; i++) {
			uint64_t value = edge();

			memcpy(bytes + page->bucket_offset +
				       draw() % (40 * sizeof(struct gyre_control_bucket)) / 8 * 8,
			       &value, sizeof(value));
		}
	if (draw() % 2)
		memset(page->version, draw() % 2 ? 0x1b : 0xff, sizeof(page->version));
}

/* Shrinks the file under the reader, and writes the sequence number all the time. */
static void *stir(void *argument)
{
	int unsealed = argument != NULL;

	for (;;) {
		if (unsealed) {
			if (ftruncate(descriptor, (off_t)(draw() % 3 ? BYTES : 100)))
				return NULL;
			usleep(50);
		} else {
			__atomic_add_fetch(&page->snapshot_seq, 1, __ATOMIC_RELAXED);
		}
	}
	return NULL;
}

/* Answers what it is asked, so that readers do not wait. */
static void *answer(void *argument)
{
	for (;; usleep(1000))
		__atomic_store_n(&page->answered, __atomic_load_n(&page->request, __ATOMIC_RELAXED),
				 __ATOMIC_RELEASE);
	return argument;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
	int unsealed = seed % 5 == 4;
	pthread_t thread;
	char byte;

	state = seed * 0x9e3779b97f4a7c15ull + 1;
	descriptor = memfd_create(GYRE_CONTROL_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (descriptor < 0 || ftruncate(descriptor, BYTES))
		return 2;
	page = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
	if (page == MAP_FAILED)
		return 2;
	honest();
	if ((argc > 1 && !strcmp(argv[1], "old")) || seed % 11 == 10)
		old();
	if (argc > 1 && !strcmp(argv[1], "odd"))
		odd();
	if (seed)
		damage();
	if (!unsealed && fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return 2;
	if (unsealed)
		munmap(page, BYTES);
	if (seed && (unsealed || seed % 7 == 3))
		pthread_create(&thread, NULL, stir, unsealed ? &descriptor : NULL);
	if (!unsealed && seed)
		pthread_create(&thread, NULL, answer, NULL);
	if (argc > 3) {
		int file = open(argv[2], O_RDONLY | O_CLOEXEC);

		mmap(NULL, 1 << 20, PROT_READ | PROT_EXEC, MAP_PRIVATE, file,
		     strtol(argv[3], NULL, 0));
	}
	printf("ready %d\n", getpid());
	fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) == 1)
		;
	_exit(0);
}
