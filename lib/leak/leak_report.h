/* leak_report.h - a scan for lost blocks: what it found, and how an observer takes part; as bytes.
 *
 * A scan is asked for in the control page (control_page.h, CTL-9). Its result is a sealed memfd
 * named GYRE_LEAK_NAME, made at the first scan and kept, found below /proc/PID/fd like the control
 * page; the observer maps it for reading and writing. Layout only, no header but the fixed-width
 * types, which whoever includes this must have. Numbers are the machine's own, as in the control
 * page.
 *
 *	0                 struct gyre_leak_header
 *	class_offset      class_count   x struct gyre_leak_class     index 0: large blocks
 *	group_offset      group_count   x struct gyre_leak_group     lost samples, by stack
 *	block_offset      block_count   x struct gyre_leak_block     lost blocks, most held first
 *	step_offset       step_count    x struct gyre_leak_step      an answer of `why`
 *	thread_offset     thread_room   x struct gyre_leak_thread    input: registers
 *
 * Offsets, entry sizes and room are constant; counts are the present result's. What is not used of
 * the file takes no memory.
 *
 *	asker                                   library
 *	request in the control page       ->    result, number of the scan      (CTL-9)
 *	lease + 1, at least each lease_ms ->    (unchanged for longer: the scan is given up)
 *	threads[], register_count,
 *	registers_given = registers_wanted <-   registers_wanted + 1, woken     (each look at roots)
 *	registers_given, woken            ->    goes on; after registers_wait_ms without them
 *	waits on `state`                  <-    DONE, woken
 *	reads; released = scan, woken     ->    IDLE: the file's memory is given back
 *
 * REPORT-1  `magic` is written last, and what the header calls [const] never changes after it.
 * REPORT-2  While `state` is GYRE_LEAK_DONE and `scan` is S, everything but the input is the whole
 *           result of scan S and does not change. An observer looks at both before and after it
 *           copies. While RUNNING, what is marked [live] may be read for progress.
 * REPORT-3  The library trusts nothing that it reads here: lease, cancel and released are compared;
 *           registers are words to look for, of which a false one can only hide a lost block.
 * REPORT-4  An observer trusts nothing either: offsets, counts and sizes are checked against the
 *           file's size.
 * REPORT-5  A result lies there until it is released, or its lease is over, or for
 *           GYRE_LEAK_KEEP_MS where lease_ms is 0. Then its memory is given back.
 * REPORT-6  Only one scan runs in a process at any time; another request is answered by -EBUSY
 *           while `state` is RUNNING. A result that waits to be released is no obstacle to the
 *           next request: it is dropped.
 * REPORT-7  An older reader finds its parts: new fields stand behind, and header_bytes and the
 *           sizes of entries tell.
 *
 * Bytes are those of blocks (a class's size, or whole pages), as in the control page.
 */
#ifndef GYRE_LEAK_REPORT_H
#define GYRE_LEAK_REPORT_H

#define GYRE_LEAK_NAME "gyre-leak"
#define GYRE_LEAK_MAGIC "GYRElek\1"
#define GYRE_LEAK_ABI 1u
#define GYRE_LEAK_FRAMES 32
#define GYRE_LEAK_ROUNDS 16
#define GYRE_LEAK_AGES 8
#define GYRE_LEAK_REGISTERS_OF_THREAD 16
#define GYRE_LEAK_KEEP_MS 60000u

/* operation of a request */
enum gyre_leak_operation {
	GYRE_LEAK_NONE,
	GYRE_LEAK_SCAN, /* which blocks can nothing reach? */
	GYRE_LEAK_WHY,  /* what holds the block around `address`? */
};

/* flags of a request */
#define GYRE_LEAK_EXACT 1u     /* a pointer counts only if it points to a block's start (or 8 or
				* 16 bytes behind it: C++ arrays, the loader's tables) */
#define GYRE_LEAK_STOP 2u      /* one round, in a stop of all threads by the collector's signal */
#define GYRE_LEAK_REGISTERS 4u /* the asker supplies registers */

enum gyre_leak_state {
	GYRE_LEAK_IDLE,
	GYRE_LEAK_RUNNING,
	GYRE_LEAK_DONE,
};

enum gyre_leak_phase {
	GYRE_LEAK_PHASE_NONE,
	GYRE_LEAK_PHASE_CENSUS, /* which blocks are there */
	GYRE_LEAK_PHASE_MARK,   /* round 1: everything that can be reached */
	GYRE_LEAK_PHASE_LOOK,   /* rounds 2 and on: does anything point to a candidate? */
	GYRE_LEAK_PHASE_SORT,   /* direct and indirect, stacks */
	GYRE_LEAK_PHASE_PATH,   /* why: from the block back to a root */
};

/* One round: what it looked at, and what it left. */
struct gyre_leak_round {
	uint64_t candidates;  /* blocks left after it */
	uint64_t taken_off;   /* candidates of before that it found held, freed or changed */
	uint64_t began_ns, ended_ns; /* CLOCK_MONOTONIC */
	uint64_t root_bytes, heap_bytes; /* read */
	uint32_t threads;     /* that the process had */
	uint32_t registers;   /* of these: whose registers were seen */
	uint32_t stacks;      /* of these: whose stack was read from its stack pointer on only */
	uint32_t late;        /* 1: the asker did not bring registers in time */
};

/* Age classes of samples: 1 s, 10 s, 1 min, 10 min, 1 h, 1 d, 1 week, older. An estimate, from
 * those lost blocks that are samples. */
struct gyre_leak_age {
	uint64_t sampled;                      /* lost samples */
	uint64_t weight_bytes, weight_sixteenths; /* what they stand for; blocks times 16 */
};

struct gyre_leak_header {
	char magic[8]; /* REPORT-1 */
	uint32_t abi, header_bytes; /* [const] */
	uint64_t total_bytes;       /* [const] */
	uint64_t class_offset, group_offset, block_offset, step_offset, thread_offset; /* [const] */
	uint32_t class_bytes, group_bytes, block_bytes, step_bytes, thread_bytes; /* [const] one */
	uint32_t class_room, group_room, block_room, step_room, thread_room; /* [const] at most */
	uint32_t class_count, group_count, block_count, step_count; /* REPORT-2 */

	/* the protocol: words to sleep on (FUTEX_WAIT, shared) */
	uint32_t state; /* [library] enum gyre_leak_state */
	uint32_t scan;  /* [library] number of the scan that is on, or was last; from 1 */
	uint32_t phase; /* [library, live] enum gyre_leak_phase */
	uint32_t lease;    /* [asker] counts up */
	uint32_t cancel;   /* [asker] = scan: give up */
	uint32_t released; /* [asker] = scan: the result has been read */
	uint32_t registers_wanted; /* [library] counts up */
	uint32_t registers_given;  /* [asker] = registers_wanted once threads[] is filled */
	uint32_t register_count;   /* [asker] entries of threads[] */
	int32_t error; /* [library] of the scan: 0, or -errno. ECANCELED given up by the asker or
			* for want of him, ETIME stop_after_ms is over, ENOMEM, EDEADLK and others:
			* the threads did not stop, ENOENT (why) no block there. The rest of the
			* result is whole all the same for ETIME if rounds_done is not 0:
			* `uncertain`. */

	/* what was asked for, as it was understood */
	uint32_t operation, flags;
	/* share_permille 0: what nobody else wants of a processor */
	uint32_t share_permille, stop_after_ms, lease_ms, rounds_asked;
	uint64_t memory_limit_bytes, tag_mask, address;

	/* the result. Blocks are of malloc's kind, alive when the scan began. */
	uint32_t rounds_done; /* [live] entries of rounds[] */
	uint32_t uncertain;   /* GYRE_LEAK_UNCERTAIN_... */
	uint64_t began_ns, ended_ns; /* CLOCK_MONOTONIC */
	uint64_t began_real_ns;      /* CLOCK_REALTIME */
	uint64_t cpu_ns;             /* [live] of the scan's thread */
	uint64_t memory_most_bytes;  /* that the scan took for itself */
	uint64_t stopped_ns;         /* with GYRE_LEAK_STOP: the longest stop */
	uint64_t live_blocks, live_bytes;
	uint64_t lost_blocks, lost_bytes;     /* exact, by reachability */
	uint64_t direct_blocks, direct_bytes; /* of these: nothing points to them, or nothing but
					       * a cycle that they head */
	uint64_t ignored_blocks; /* gyre_leak_ignore */
	uint64_t lost_samples;   /* lost blocks that are samples: what groups are made of */
	uint64_t group_none;     /* of these: found no group */
	uint64_t root_bytes, heap_bytes; /* [live] read in all rounds */
	uint64_t unreadable_bytes; /* mapped, but could not be read */
	uint64_t epoll_words, timer_words; /* roots that the kernel keeps, read out of /proc */
	struct gyre_leak_round rounds[GYRE_LEAK_ROUNDS];
	struct gyre_leak_age ages[GYRE_LEAK_AGES];

	/* why */
	uint64_t why_block, why_bytes; /* the block around `address` */
	uint32_t why_found;  /* 1: a root holds it; 0: nothing does, it is lost */
	uint32_t why_group;  /* of the block: index + 1, or 0 */
	uint64_t why_length; /* steps of the path; more than step_count: the middle is left out */
	uint64_t spare[8];
};

/* uncertain: why the answer is less sure than it might be */
#define GYRE_LEAK_UNCERTAIN_TIME 1u      /* stop_after_ms was over before the last round */
#define GYRE_LEAK_UNCERTAIN_REGISTERS 2u /* there were threads whose registers nobody saw */
#define GYRE_LEAK_UNCERTAIN_UNSETTLED 4u /* the last round still took blocks off */
#define GYRE_LEAK_UNCERTAIN_CACHES 8u    /* a thread's cache could not be read at rest */
#define GYRE_LEAK_UNCERTAIN_ROOTS 16u    /* some roots could not be read (unreadable_bytes) */

struct gyre_leak_class {
	uint32_t object_bytes; /* 0: large blocks, or a class that is not used */
	uint32_t spare;
	uint64_t live_blocks, live_bytes;
	uint64_t lost_blocks, lost_bytes;
	uint64_t direct_blocks, direct_bytes;
};

/* Lost samples of one allocation stack, estimated by what each stands for: sampling was by bytes,
 * so weight_bytes is unbiased, and error_bytes is the estimate's standard deviation. */
struct gyre_leak_group {
	uint64_t hash;  /* of the frames: tells a group again in another scan of this process */
	uint32_t depth; /* frames used; 0: the stack is not known */
	uint32_t spare;
	uint64_t lost_samples, lost_sampled_bytes;
	uint64_t direct_samples, direct_sampled_bytes; /* of these */
	uint64_t weight_bytes, weight_sixteenths; /* blocks times 16 */
	uint64_t direct_weight_bytes, direct_weight_sixteenths;
	uint64_t error_bytes;
	uint64_t youngest_ns, oldest_ns; /* age */
	uint64_t live_bytes; /* estimate of all that is live of this stack, lost or not */
	uint64_t example;      /* address of the oldest */
	uint64_t frames[GYRE_LEAK_FRAMES]; /* return addresses, the caller of malloc first */
};

#define GYRE_LEAK_BLOCK_DIRECT 1u
#define GYRE_LEAK_BLOCK_SAMPLED 2u /* `group` and `age_ns` are known */

/* All that are direct come before all that are not, and as many as there is room for. */
struct gyre_leak_block {
	uint64_t address, bytes;
	uint32_t flags;
	uint32_t group; /* index + 1, or 0: not a sample */
	uint64_t age_ns;
	uint64_t held_blocks, held_bytes; /* direct: what is lost with it, itself included;
					   * indirect: 0 */
	uint64_t head; /* the direct block that this one is lost with; direct: itself */
};

enum gyre_leak_step_kind {
	GYRE_LEAK_STEP_NONE,
	GYRE_LEAK_STEP_GLOBAL,   /* a root: a word of a file's mapping: a global variable */
	GYRE_LEAK_STEP_STACK,    /* a root: in the stack of thread `tid` */
	GYRE_LEAK_STEP_REGISTER, /* a root: register `offset` (index) of thread `tid` */
	GYRE_LEAK_STEP_MAPPING,  /* a root: any other mapping of the process: mmap, brk, TLS of the
				  * main thread */
	GYRE_LEAK_STEP_OBJECT,   /* a root: an object of the collector's */
	GYRE_LEAK_STEP_EPOLL,    /* a root: the data of an epoll entry; `offset`: descriptor */
	GYRE_LEAK_STEP_TIMER,    /* a root: the value of a POSIX timer */
	GYRE_LEAK_STEP_IGNORED,  /* a root: gyre_leak_ignore */
	GYRE_LEAK_STEP_BLOCK,    /* a block that holds the next one */
	GYRE_LEAK_STEP_GAP,      /* `offset` steps are left out here */
	GYRE_LEAK_STEP_TARGET,   /* the block asked for; the last step */
};

/* From the root to the block. Of a block: the word at `address`, `offset` bytes into the block of
 * `bytes` at `block`, is `value`, and points into the next step's block. A path is of a running
 * process: a word that had gone when it was looked at again has value 0. */
struct gyre_leak_step {
	uint32_t kind; /* enum gyre_leak_step_kind */
	uint32_t tid;  /* as the process itself knows it; 0: none */
	uint64_t address, value, offset;
	uint64_t block, bytes; /* STACK, GLOBAL, MAPPING: the mapping; REGISTER: 0 */
	uint32_t group;        /* of the block: index + 1, or 0 */
	uint32_t spare;
};

/* Input. A thread's registers where it entered the kernel last; one entry a thread, also of those
 * that run. Every word is looked at; stack_pointer also tells which part of the stack is in use,
 * if `flags` says that the thread sleeps. */
#define GYRE_LEAK_THREAD_ASLEEP 1u /* not on a processor: the registers are those of this moment */

struct gyre_leak_thread {
	uint32_t tid; /* as the process itself knows it (NSpid's last column) */
	uint32_t flags;
	uint64_t stack_pointer;
	uint64_t fs_base; /* 0: not known */
	uint64_t registers[GYRE_LEAK_REGISTERS_OF_THREAD];
};

#endif
