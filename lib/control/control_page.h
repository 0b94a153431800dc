/* control_page.h - what a process publishes of itself, as bytes.
 *
 * The control page is a sealed memfd named "gyre-control". The library maps it shared and keeps
 * its descriptor (at a high number); an observer opens it through /proc/PID/fd, so the kernel's own
 * ptrace check is the access check. This file is the whole contract between the two: layout only,
 * libc headers only, also included by tools/.
 *
 *      0                                      struct gyre_control (header, totals)
 *      class_offset                           class_count    x struct gyre_control_class
 *      option_offset                          option_count   x struct gyre_control_option
 *      bucket_offset                          bucket_count   x struct gyre_control_bucket
 *
 * CTL-1  The header's constant part is written before `magic`, and never changes after it; but
 *        `sample_bytes` and its logarithm follow the option (CTL-2).
 * CTL-2  `totals`, the class table, `gc` and `events` are one snapshot under `snapshot_seq` (odd:
 *        being written).
 * CTL-3  A bucket's counters and frames are consistent under its own `seq` (odd: being written).
 *        A bucket's frames never change once `depth` is not 0.
 * CTL-4  The library trusts nothing that it reads here: it reads `request` and compares.
 * CTL-5  An observer trusts nothing either: offsets and counts are checked against the file's size.
 * CTL-6  `commands` is a set of bits: an observer raises one by an atomic or and then asks for a
 *        snapshot; the library takes all bits at once, before that snapshot is gathered. It only
 *        passes them on, so no command can hold a snapshot up.
 * CTL-7  What a later ABI adds stands behind all that was there, so that a reader of today reads an
 *        older page: what `header_bytes` does not cover reads as 0.
 *
 * CTL-8  `setting` asks for an option to be changed. An observer waits until `seq` is even and
 *        equals `heard` (3 s at most: another one may have died on the way), makes `seq` odd by a
 *        compare and swap, writes name and value, makes it even again, and asks for a snapshot. The
 *        library copies the texts, takes them if `seq` is even and the same as before, checks them
 *        as it checks GYRE_OPTIONS, and says in `result` what came of it, then in `done` of which
 *        `seq`. The observer reads that and says so in `heard`.
 *
 * To ask for a fresh snapshot: add 1 to `request`, FUTEX_WAKE it, wait until `answered` equals it
 * (the background thread answers; without one, the next slow path of any thread does). A process
 * that hangs still shows its last snapshot; `snapshot_ns` (CLOCK_MONOTONIC) tells its age.
 */
#ifndef GYRE_CONTROL_PAGE_H
#define GYRE_CONTROL_PAGE_H

#include <stdint.h>

#define GYRE_CONTROL_NAME "gyre-control"
#define GYRE_CONTROL_MAGIC "GYREctl\1"
#define GYRE_CONTROL_ABI 4u
#define GYRE_CONTROL_ABI_OLDEST 1u /* that an observer of today still reads */
#define GYRE_CONTROL_FRAMES 32
#define GYRE_CONTROL_BUCKETS 4096u
#define GYRE_CONTROL_TEXT 32

struct gyre_control_totals {
	/* as Go's MemStats, in bytes unless named otherwise */
	uint64_t heap_alloc;         /* bytes in blocks that are allocated */
	uint64_t heap_inuse;         /* bytes in spans that hold or held blocks */
	uint64_t heap_idle;          /* bytes in spans that hold none, released ones included */
	uint64_t heap_released;      /* bytes given back to the kernel, in idle and in spans */
	uint64_t heap_sys;           /* bytes made usable (inuse + idle) */
	uint64_t heap_reserved;      /* bytes of address range */
	uint64_t metadata_bytes;     /* bytes of side arrays and caches made usable */
	uint64_t mallocs;            /* blocks allocated since start */
	uint64_t frees;              /* blocks freed since start */
	uint64_t thread_cache_bytes; /* free blocks in thread caches */
	uint64_t central_bytes;      /* free blocks in central lists and spans */
	uint64_t large_bytes;        /* bytes in large blocks */
	uint64_t large_blocks;       /* number of large blocks */
	uint64_t large_mallocs;      /* large blocks allocated since start */
	uint64_t threads;            /* threads with a cache */
	uint64_t hugepages;          /* 2 MiB pages made usable */
	uint64_t hugepages_free;     /* of these: wholly free, still backed */
	uint64_t hugepages_intact;   /* of these: never broken up by a release */
	uint64_t hugepages_released; /* of these: wholly given back */
	uint64_t released_total;     /* bytes given back since start */
	uint64_t release_calls;      /* system calls that gave memory back */
	uint64_t growths;            /* times the heap grew */
	uint64_t caches_taken;       /* idle caches taken back */
	uint64_t ooms;               /* allocations that failed with ENOMEM */
	uint64_t misuses;            /* misuse caught and carried on from */
	uint64_t samples;            /* allocations sampled since start */
	uint64_t samples_live;       /* of these, not yet freed */
	uint64_t samples_lost;       /* samples that found no bucket or record */
	uint64_t memory_limit;       /* bytes the heap refuses to grow past; 0 none */
	uint64_t background_runs;    /* wake-ups of the background thread */
	uint64_t spare[6];
};

struct gyre_control_class {
	uint32_t object_bytes, span_bytes;
	uint32_t span_objects, pad;
	uint64_t spans;          /* spans of this class */
	uint64_t live;           /* blocks allocated and not freed */
	uint64_t thread_cached;  /* free blocks in thread caches */
	uint64_t central_cached; /* free blocks in the central transfer array */
	uint64_t span_free;      /* free blocks in spans */
	uint64_t released_bytes; /* bytes inside these spans that the kernel has back */
	uint64_t mallocs, frees; /* since start */
	uint64_t refills, flushes;
};

struct gyre_control_option {
	char name[GYRE_CONTROL_TEXT], value[GYRE_CONTROL_TEXT];
	/* ABI 3 */
	char initial[GYRE_CONTROL_TEXT]; /* its value where nobody sets it */
	uint32_t live;			 /* 1: may change while the process runs */
	uint32_t spare;
};

struct gyre_control_bucket {
	uint32_t seq;   /* CTL-3 */
	uint32_t depth; /* frames used; 0: bucket empty */
	uint64_t hash;
	uint64_t alloc_objects, alloc_bytes; /* sampled, unscaled */
	uint64_t free_objects, free_bytes;
	uint64_t alloc_weight, free_weight;                 /* scaled to all allocations, bytes */
	uint64_t alloc_weight_objects, free_weight_objects; /* scaled, in 1/16 blocks */
	uint64_t frames[GYRE_CONTROL_FRAMES]; /* return addresses, caller of malloc first */
};

/* The collector's, as struct gyre_gc_stats (gyre/gc.h) explains them. All 0 in a process that has
 * not asked for a collected object. */
struct gyre_control_gc {
	uint64_t used;             /* 1: it has */
	uint64_t cycles;           /* completed */
	uint64_t cycles_forced;    /* of these: asked for */
	uint64_t failed_stops;     /* cycles given up: a thread did not stop */
	uint64_t phase;            /* 0 idle, 1 marking, 2 ending, 3 sweeping */
	/* CTL-6, COLLECT: answered when cycles + failed_stops reach this */
	uint64_t commanded_cycle;
	uint64_t pause_max_ns, pause_total_ns, pause_last_ns;
	uint64_t heap_live_bytes, heap_inuse_bytes, heap_goal_bytes, heap_trigger_bytes;
	uint64_t heap_span_bytes;
	uint64_t growth_rate_permille; /* heap goal / heap in use */
	int64_t percent;               /* below 0: no cycle by itself */
	uint64_t memory_limit_bytes;   /* 0: none */
	uint64_t workers;              /* marking threads */
	uint64_t objects_allocated, bytes_allocated, bytes_freed;
	uint64_t mark_bytes, mark_total_ns, mark_cpu_ns;
	uint64_t assists, assist_ns;
	uint64_t barrier_shades;
	uint64_t stack_bytes, root_bytes;
	uint64_t threads_stopped, threads_blocked;
	uint64_t weak_cleared, finalisers_run;
	uint64_t spare[7];
};

/* CTL-8 */
struct gyre_control_setting {
	uint32_t seq;	/* [observers] odd: being written */
	uint32_t done;	/* [library] the last one carried out, or refused */
	int32_t result; /* [library] 0, or -errno: ENOENT no such option, EPERM start-only,
			 * EINVAL not understood, ERANGE out of bounds */
	uint32_t heard; /* [observers] the last one whose asker has read the answer */
	char name[GYRE_CONTROL_TEXT], value[GYRE_CONTROL_TEXT];
};

/* CTL-9. A field of 0 means the default. */
struct gyre_control_leak {
	uint32_t seq;	/* [observers] odd: being written */
	uint32_t done;	/* [library] the last one begun, or refused */
	int32_t result; /* [library] 0 begun, or -errno: EBUSY a scan is on, EINVAL not understood,
			 * ENOMEM no room for the result, EAGAIN no thread */
	uint32_t heard; /* [observers] the last one whose asker has read the answer */
	uint32_t scan;	/* [library] number of the scan that was begun */
	uint32_t operation; /* from here on [observers]: enum gyre_leak_operation */
	uint32_t flags;	    /* GYRE_LEAK_EXACT ... */
	uint32_t share_permille; /* of one CPU; 1 to 1000; 0: what nobody else wants */
	uint32_t stop_after_ms;	 /* give up then; default: never */
	uint32_t lease_ms;  /* give up when the asker has not moved `lease` for so long; 100 to
			     * 600000, default: no lease */
	uint32_t rounds;    /* at least so many, 2 to GYRE_LEAK_ROUNDS; default 3 */
	uint32_t registers_wait_ms; /* default 1000 */
	uint64_t memory_bytes; /* that the scan may take; default: 1/8 of the heap + 64 MiB */
	uint64_t tag_mask;     /* a word counts as it is, and without these bits */
	uint64_t address;      /* GYRE_LEAK_WHY */
	uint64_t spare[4];
};

/* Recording of every event (trace/event_record.h); CTL-2. */
struct gyre_control_events {
	uint64_t events_available; /* 1: it may be switched on here (option events) */
	uint64_t events_recording; /* 1: every thread records (EVENT-1) */
	/* Since start, all threads. Every event while recording is in one of these two: */
	uint64_t events_recorded;  /* told to a tracer, or waiting in a buffer */
	uint64_t events_dropped;   /* not: no room, or nobody listened */
	uint64_t events_shipped;   /* batches told */
	uint64_t events_waiting;   /* of those recorded: not told yet */
	uint64_t events_buffers;   /* made since start; an ended thread's serves the next */
	uint64_t barrier_hits;     /* stores by the slow half of the collector's barrier */
	/* EVENT-3. A moment by both clocks; two snapshots give the exact rate between them. */
	uint64_t ticks_hz;         /* 0: ticks are CLOCK_MONOTONIC in ns */
	uint64_t ticks_then, ticks_then_ns;
	uint64_t stack_entries;    /* of the stack table; 0: there is none yet */
	uint64_t stacks_used, stacks_full; /* as its header has them */
	/* The names of types (trace/event_record.h): where in the process's memory, and how many,
	 * from number 1 on. 0 in processes whose Gyre does not tell types. */
	uint64_t type_names, type_count;
	uint64_t spare[4];
};

#define GYRE_CONTROL_COLLECT 1u /* commands: ask for a cycle */

struct gyre_control {
	char magic[8];
	uint32_t abi, header_bytes;
	uint64_t total_bytes;
	uint32_t pid, pad; /* in the process's own pid namespace */
	uint64_t start_ns; /* CLOCK_MONOTONIC */
	uint64_t heap_base, heap_reserved_bytes;
	uint32_t page_bytes, sample_bytes_log2; /* the latter: 0 if the period is no power of 2 */
	uint64_t sample_bytes;                  /* mean bytes between samples; 0 off */
	char version[GYRE_CONTROL_TEXT];
	uint64_t class_offset, option_offset, bucket_offset;
	uint32_t class_count, option_count, bucket_count;
	uint32_t class_bytes, option_bytes, bucket_bytes; /* size of one entry */
	uint32_t request, answered;                       /* see the opening comment */
	uint32_t background_tid;                          /* 0: no background thread */
	uint32_t snapshot_seq;                            /* CTL-2 */
	uint64_t snapshot_ns; /* CLOCK_MONOTONIC at which the snapshot was made */
	struct gyre_control_totals totals;
	/* ABI 2 */
	uint32_t commands, spare; /* CTL-6 */
	struct gyre_control_gc gc; /* CTL-2 */
	/* ABI 3 */
	struct gyre_control_setting setting; /* CTL-8 */
	struct gyre_control_events events; /* CTL-2 */
	/* ABI 4 */
	struct gyre_control_leak leak; /* CTL-9 */
};

#define GYRE_CONTROL_HEADER_1 464u /* header_bytes of ABI 1 */
#define GYRE_CONTROL_HEADER_2 792u
#define GYRE_CONTROL_HEADER_3 1032u

#endif
