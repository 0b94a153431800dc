/* lock_rank.h - every lock of the library in one order, outermost first.
 *
 * LOCK_RANK(name, what it protects; who may wait on it; whether fork holds it)
 *
 * A thread may take a lock only if its rank is below (later than) every lock it holds. Builds with
 * CHECK=full keep the stack of held locks per thread and panic naming both (os/lock.c). No
 * callback and no user code runs under any of them. fork takes those marked "fork: held", in this
 * order, so that the child finds every structure whole (mutator/fork.c).
 */
#ifndef GY_BASE_LOCK_RANK_H
#define GY_BASE_LOCK_RANK_H

#define GY_LOCK_RANKS(RANK)                                                                        \
	RANK(none, "no rank: locks of tests")							   \
	RANK(init, "one-time start of the heap; any first caller; fork: not held")		   \
	RANK(cycle, "the collector's phase, and who waits for it; fork: held")			   \
	RANK(background, "start and stop of the background thread; fork: held")			   \
	RANK(control, "the control page's snapshot; readers of statistics; fork: held")		   \
	RANK(finalise, "weak references, cleanups, finalisers, handles; fork: held")		   \
	RANK(world, "one stop at a time, the list of own threads; fork: held")			   \
	RANK(mutators, "the list of threads that use the collector; fork: held")		   \
	RANK(roots, "registered root ranges; any thread, the collector; fork: held")		   \
	RANK(layout, "types as layouts; first use of a type; fork: held")			   \
	RANK(pacer, "the goal being set; the collector, setters; fork: held")			   \
	RANK(channel, "a channel; send, receive; select: several, by address; fork: not held")	   \
	RANK(waiters, "queues of who waits, by address; lock and unlock; fork: not held")	   \
	RANK(barrier, "a barrier buffer; its thread, the collector; fork: not held")		   \
	RANK(mark, "shared mark queues; markers; fork: held")					   \
	RANK(bin, "one layout and size: its blocks; refill of cursors, sweeping; fork: held")	   \
	RANK(pool, "free pages of the collector; refill, sweeping; fork: held")		   \
	RANK(leak_ignore, "which blocks no scan for leaks shall name; any thread; fork: held")	   \
	RANK(trim, "one release pass at a time; background thread and gyre_trim; fork: held")	   \
	RANK(events, "the buffers of every event; a thread's first, shipping; fork: held")	   \
	RANK(event_buffer, "shipping one such buffer; its thread, the shipper; fork: not held")	   \
	RANK(registry, "the list of thread caches; thread start and end, statistics; fork: held")  \
	RANK(owner, "one cache against being taken back; its thread, the taker; fork: not held")   \
	RANK(central, "one size class's spans and transfer array; refill and flush; fork: held")   \
	RANK(large, "kept spans and counts of large blocks; take and give; fork: held")		   \
	RANK(page_heap, "pages of the whole heap; span take and give; fork: held")		   \
	RANK(sampler, "live samples, profile, shelves; one in 512 KiB; fork: held")		   \
	RANK(metadata, "the library's own small memory; fork: held")				   \
	RANK(own_memory, "which mappings are the library's own; fork: held")

enum gy_lock_rank {
#define GY_RANK_ENUM(name, text) GY_RANK_##name,
	GY_LOCK_RANKS(GY_RANK_ENUM)
#undef GY_RANK_ENUM
		GY_RANK_COUNT
};

#endif
