/* leak.h - which malloc'd blocks of this process can nothing reach any more: the public contract.
 *
 *	static int tell(const struct gyre_leak_loss *loss, void *context)
 *	{
 *		...loss->bytes at loss->block, allocated at loss->frames[0]...
 *		return 0;
 *	}
 *
 *	gyre_leak_scan(NULL, &result, sizeof(result), tell, NULL);
 *
 * The same from outside, without a line of code: `gyre leak scan pid N`. A scan reads all memory of
 * the process while it runs, and stops, signals or delays no thread; how it works, and what it
 * cannot see, is in gyre-leak(8).
 */
#ifndef GYRE_LEAK_H
#define GYRE_LEAK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GYRE_LEAK_SCAN_EXACT 1u /* only pointers to a block's start count */
#define GYRE_LEAK_SCAN_STOP 2u	/* one round, all threads stopped by the collector's signal */

/* struct gyre_leak_options - how to scan. All zeroes, or NULL in its place: the defaults. */
struct gyre_leak_options {
	uint32_t flags;		 /* GYRE_LEAK_SCAN_... */
	uint32_t rounds;	 /* at least so many, 2 to 16; 0: 3 */
	uint32_t share_permille; /* of one CPU that the scan may use, 1 to 1000; 0: 30, and up to
				  * 250 where a CPU would be idle otherwise */
	uint32_t stop_after_ms;	 /* end then, with what is known; 0: when it is done */
	uint64_t memory_bytes; /* that the scan may take; 0: 64 MiB and an eighth of the heap */
	uint64_t tag_mask; /* bits used in pointers: a word without them counts, too */
};

/* struct gyre_leak_result - the whole in numbers. Bytes are those of blocks, rounded up to their
 * class. */
struct gyre_leak_result {
	uint64_t lost_blocks, lost_bytes;     /* that nothing reaches */
	uint64_t direct_blocks, direct_bytes; /* of these, not held by another lost one */
	uint64_t live_blocks, live_bytes;     /* allocated when the scan began */
	uint64_t cpu_ns, wall_ns;	      /* what the scan took */
	uint64_t stopped_ns;		      /* GYRE_LEAK_SCAN_STOP: how long all stood still */
	uint32_t rounds;		      /* that were made */
	uint32_t unsettled; /* 1: the last round still found blocks held: the others may be, too */
	uint32_t threads;   /* of the process, but for the library's */
	uint32_t registers_unseen; /* of these, whose registers were not looked at */
};

/* struct gyre_leak_loss - one lost block. */
struct gyre_leak_loss {
	void *block;
	size_t bytes;
	int direct;			 /* 1: nothing points to it, or only what it leads to */
	uint64_t held_blocks, held_bytes; /* direct: lost with it, itself included */
	uint32_t depth;			 /* of frames; 0: not a sample, no more is known */
	const uint64_t *frames;		 /* return addresses, the caller of malloc first */
	uint64_t age_ns;		 /* of a sample */
};

/* gyre_leak_scan - find lost blocks, now.
 * @options     or NULL
 * @result      filled, or NULL; the caller passes sizeof(struct gyre_leak_result)
 * @visit       called for lost blocks, those that hold most first, at most 65,536; or NULL. A value
 *              other than 0 stops the walk and is returned
 * Returns      0, or what visit returned
 * Errors       -EBUSY   another scan is under way    -EINVAL  an option is out of bounds
 *              -ENOMEM  no memory for the scan       -EAGAIN  no thread for it, or its result was
 *              taken away by the next                -ETIME   stop_after_ms was over in round one
 *              -EDEADLK a thread did not stop        -ECANCELED an observer gave the scan up
 * Threads      any thread, which sleeps until the scan is done; visit runs under no lock and may
 *              allocate. Registers of other threads are not seen: a block that lies in nothing but
 *              a register of one for the whole scan is reported (registers_unseen tells whether
 *              there may be such)
 * Signals      not async-signal-safe
 * Fork         allowed in the child; a scan that the parent has under way is not there
 * Cost         a thread at share_permille of one CPU: about a second of CPU time for each GiB of
 *              heap in small blocks, 0.15 s at least; memory of 2 to 6 % of the heap meanwhile
 * Since 0.2    Source  leak/leak.h; LeakSanitizer's __lsan_do_recoverable_leak_check */
int gyre_leak_scan(const struct gyre_leak_options *options, struct gyre_leak_result *result,
		   size_t result_bytes,
		   int (*visit)(const struct gyre_leak_loss *loss, void *context), void *context);

/* gyre_leak_ignore, gyre_leak_unignore - this block, and all that it leads to, is lost on purpose.
 * @block       from malloc; one that is ignored must be un-ignored before it is freed, or whatever
 *              gets its address next is ignored in its stead
 * Returns      0
 * Errors       -EINVAL block is NULL   -ENOMEM (ignore)   -ENOENT (unignore) it was not ignored
 * Threads      any thread              Signals  not async-signal-safe
 * Fork         the child has what the parent had
 * Cost         a lock and a look into a table
 * Since 0.2    Source  leak/ignore.c; LeakSanitizer's __lsan_ignore_object */
int gyre_leak_ignore(const void *block);
int gyre_leak_unignore(const void *block);

#ifdef __cplusplus
}
#endif
#endif
