/* scan.h - one scan under way: what its parts share. See leak.h for the whole.
 *
 *	census.c   which blocks are there                          -> frame
 *	roots.c    every word of the process that is not the heap  -> words()
 *	threads.c  stack pointers and registers                    -> words()
 *	read.c     memory that may vanish, read without a crash
 *	mark.c     round 1: all that can be reached
 *	look.c     rounds 2 and on: does anything point to a candidate?
 *	sort.c     direct and indirect; groups by stack
 *	path.c     why: from a block back to a root
 *	report.c   the result's memory
 *	pace.c     how much of a processor the scan takes, and when it gives up
 *	leak.c     the order of all this
 */
#ifndef GY_LEAK_SCAN_H
#define GY_LEAK_SCAN_H

#include "control/control_page.h"
#include "leak/frame.h"
#include "leak/leak_report.h"
#include "os/maps.h"
#include "os/own_memory.h"
#include "os/spare_cpu.h"

#include <stdbool.h>
#include <sys/types.h>

#define GY_LEAK_BUFFER_BYTES ((size_t)64 << 10)
#define GY_LEAK_PAGEMAP_ENTRIES 512u
#define GY_LEAK_TARGETS 16u
#define GY_LEAK_BLOCKS_AHEAD 12u
#define GY_LEAK_THREADS_MOST 4096u
#define GY_LEAK_OWN_MOST 4096u
#define GY_LEAK_GROUPS_MOST 4096u
#define GY_LEAK_BLOCKS_MOST 65536u
#define GY_LEAK_STEPS_MOST 256u

/* Not instrumented: they read what others write, and what is no object of any C type. */
#if GY_TSAN
#define GY_LEAK_READER GY_RACY_READER
#else
#define GY_LEAK_READER __attribute__((no_sanitize("address", "undefined")))
#endif

struct gy_leak_scan;

/* Where words come from, for path.c. */
struct gy_leak_place {
	enum gyre_leak_step_kind kind;
	pid_t tid;
	uint64_t offset;
	uintptr_t start, end; /* the mapping */
};

/* `count` words that lie at `address`, or lay there a moment ago. */
typedef void gy_leak_words(struct gy_leak_scan *scan, const uintptr_t *words, size_t count,
			   uintptr_t address);

struct gy_leak_task {
	pid_t tid;
	bool asleep;	     /* sp is that of this moment */
	bool seen;	     /* its registers were */
	uintptr_t sp;	     /* 0: not known */
	uintptr_t stack_top; /* 0: not known */
	uint64_t switches;   /* how often it was switched out, when sp was read */
	uintptr_t dead_low, dead_high; /* of its stack, below sp; equal: nothing is known */
};

struct gy_leak_target {
	size_t bit;
	const struct gy_leak_page *page; /* NULL: none */
};

struct gy_leak_pace {
	uint64_t began_ns, deadline_ns; /* 0: none */
	uint64_t cpu_began_ns, cpu_seen_ns;
	struct gy_spare_cpu spare; /* where no share was asked for */
	uint64_t lease_ns; /* when it was last seen to move */
	uint32_t lease;
	size_t work; /* bytes since the last look at the clock */
	int error;   /* why the scan ends early */
	bool stopped; /* the world stands still: no rest */
};

struct gy_leak_scan {
	struct gyre_control_leak request; /* with its defaults filled in */
	struct gyre_leak_header *header;
	uint32_t number; /* of the scan */
	struct gy_leak_pace pace;
	struct gy_leak_frame frame;
	uint64_t memory_bytes; /* mapped and used for the frame and the queue */
	uint32_t uncertain;

	gy_leak_words *words; /* what is done with words that are found */
	struct gy_leak_place place;
	bool exact;
	uint64_t tag_mask;

	/* roots */
	struct gy_maps maps;
	struct gy_own_range holes[GY_LEAK_OWN_MOST + GY_LEAK_THREADS_MOST]; /* not read, sorted */
	size_t hole_count;
	struct gy_leak_task tasks[GY_LEAK_THREADS_MOST];
	size_t task_count;
	struct gyre_leak_round *round; /* counts go there */
	uint32_t rounds_done;
	int pagemap; /* descriptor */
	int memory;  /* /proc/self/mem, where process_vm_readv is refused; -1: not opened */
	bool read_refused, scan_refused; /* process_vm_readv, PAGEMAP_SCAN */
	uint64_t root_bytes, heap_bytes; /* read in this round */
	bool in_heap; /* what is read now is the heap's */
	uint64_t epoll_words, timer_words, ignored;

	/* mark, look */
	uintptr_t targets[GY_LEAK_TARGETS];
	struct gy_leak_target bits[GY_LEAK_TARGETS];
	unsigned target_at, bit_at;
	uintptr_t *queue;
	size_t queued, queue_first, queue_room; /* queue_first: 0 but for path.c */
	bool overflowed;
	uint64_t taken_off;
	uint64_t candidates;
	uint32_t group_count, block_count; /* of the report's tables */
	uint64_t held_blocks, held_bytes;  /* sort.c */
	double variances[GY_LEAK_GROUPS_MOST]; /* of the groups' estimates */

	/* path.c */
	uint32_t *parents; /* number + 1 of what reached a block, 0: a root; NULL: nobody asks */
	size_t parents_bytes;
	uint32_t parent;
	uintptr_t find_low, find_high, found_word, found_address;
	struct gy_leak_place found_place;
	bool enough; /* found: gy_leak_pace ends what is under way */

	uint64_t pagemap_entries[GY_LEAK_PAGEMAP_ENTRIES];
	uint64_t kernel_entries[GY_LEAK_PAGEMAP_ENTRIES]; /* look.c: of one huge page */
	struct gy_span_look looks[GY_HUGEPAGE_PAGES];
	uintptr_t buffer[GY_LEAK_BUFFER_BYTES / sizeof(uintptr_t)];
};

/* leak.c */
int gy_leak_make_queue(struct gy_leak_scan *scan);
void gy_leak_phase(struct gy_leak_scan *scan, enum gyre_leak_phase phase);

/* pace.c */
void gy_leak_pace_begin(struct gy_leak_scan *scan);
/* CPU time since then. */
uint64_t gy_leak_cpu_ns(const struct gy_leak_scan *scan);
/* The share of a processor, in thousandths, where `spare` thousandths of one would be idle. */
uint32_t gy_leak_share(uint32_t spare);
/* `bytes` more were looked at. False: give up (pace.error). May sleep. */
bool gy_leak_pace(struct gy_leak_scan *scan, size_t bytes);
/* Sleeps that long, or until the scan is cancelled; as gy_leak_pace. */
bool gy_leak_rest(struct gy_leak_scan *scan, uint64_t ns);

/* census.c */
int gy_leak_census(struct gy_leak_scan *scan);
/* Clears the bits, in `map`, of the blocks that lie in transfer arrays and bins now. */
void gy_leak_clear_cached(struct gy_leak_scan *scan, uint64_t *map);
/* The free blocks of a small span now; false: it is not that span any more. */
bool gy_leak_free_bits(const struct gy_span_look *look, uint64_t free_bits[GY_SPAN_BIT_WORDS_MANY]);
void gy_leak_frame_free(struct gy_leak_scan *scan);
void *gy_leak_map(struct gy_leak_scan *scan, size_t bytes, int *error);

/* read.c: words() for what of [start, end) is there. `anonymous_only`: not what is a file's. */
bool gy_leak_read(struct gy_leak_scan *scan, uintptr_t start, uintptr_t end, bool anonymous_only);
/* One piece of memory that may vanish; bytes read, or -errno. */
ssize_t gy_leak_copy(struct gy_leak_scan *scan, uintptr_t from, void *to, size_t bytes);
/* Populated pages of [start, start + 2 MiB) into kernel_entries. */
bool gy_leak_pagemap(struct gy_leak_scan *scan, uintptr_t start, uint64_t *entries, size_t count);

/* roots.c, kernel_roots.c, threads.c, ignore.c */
bool gy_leak_roots(struct gy_leak_scan *scan);
bool gy_leak_collected(struct gy_leak_scan *scan, const struct gy_span_look *look);
bool gy_leak_collected_all(struct gy_leak_scan *scan);
void gy_leak_kernel_roots(struct gy_leak_scan *scan);
/* The threads and their stack pointers; scan->maps has been read. */
void gy_leak_threads(struct gy_leak_scan *scan);
/* words() for registers that are known. */
void gy_leak_registers(struct gy_leak_scan *scan);
/* Which parts of stacks are not in use. */
void gy_leak_find_dead(struct gy_leak_scan *scan);
/* Parts of stacks that were left out, and whose threads have run since. */
bool gy_leak_dead_again(struct gy_leak_scan *scan);
/* words() for the blocks that the program has marked; how many. */
size_t gy_leak_ignored(struct gy_leak_scan *scan);

/* mark.c */
bool gy_leak_mark(struct gy_leak_scan *scan);
/* Queues a block that was just marked; where there is no room it is found again later. */
void gy_leak_push(struct gy_leak_scan *scan, uintptr_t block);
/* The words of a live block of the frame. */
bool gy_leak_read_block(struct gy_leak_scan *scan, uintptr_t block, size_t bytes);

/* look.c */
void gy_leak_candidates(struct gy_leak_scan *scan);
bool gy_leak_look(struct gy_leak_scan *scan, bool backwards);

/* sort.c */
void gy_leak_sort(struct gy_leak_scan *scan);
bool gy_leak_is_sample(const struct gy_leak_page *page, uintptr_t block);
/* path.c */
int gy_leak_path(struct gy_leak_scan *scan);

/* report.c */
struct gyre_leak_header *gy_leak_report_make(void);
struct gyre_leak_class *gy_leak_report_classes(struct gyre_leak_header *header);
struct gyre_leak_group *gy_leak_report_groups(struct gyre_leak_header *header);
struct gyre_leak_block *gy_leak_report_blocks(struct gyre_leak_header *header);
struct gyre_leak_step *gy_leak_report_steps(struct gyre_leak_header *header);
struct gyre_leak_thread *gy_leak_report_threads(struct gyre_leak_header *header);
/* Empties the tables; all of it back to the kernel. */
void gy_leak_report_clear(struct gyre_leak_header *header);
void gy_leak_report_fork_child(void);
/* The group of a block's sample, made if need be: index + 1, or 0. *age_ns likewise. */
struct gy_leak_sample {
	uint64_t weight_bytes, weight_sixteenths, block_bytes, requested_bytes, age_ns;
	uint32_t group;
};
/* Fills in what is live of each group's stack. */
void gy_leak_report_live(struct gy_leak_scan *scan);
/* false: the sampler knows nothing of it. */
bool gy_leak_sample_of(struct gy_leak_scan *scan, uintptr_t block, struct gy_leak_sample *sample);

#endif
