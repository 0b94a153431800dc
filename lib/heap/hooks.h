/* hooks.h - what the heap calls of the modules above it.
 *
 * The heap knows neither the sampler nor the background thread: it calls through this table, which
 * api/runtime.c defines once, at link time (a constant: nothing to register, nothing to race).
 */
#ifndef GY_HEAP_HOOKS_H
#define GY_HEAP_HOOKS_H

#include <stddef.h>
#include <stdint.h>

enum gy_sample_end {
	GY_SAMPLE_UNKNOWN, /* there is no such sample: it was lost, or it was freed before */
	GY_SAMPLE_ENDED,
	GY_SAMPLE_SHELVED, /* and the block is on its shelf */
};

enum gy_block_event { GY_BLOCK_TAKEN = 1, GY_BLOCK_GIVEN = 2 }; /* as trace/event_record.h */

struct gy_heap_hooks {
	/* Once, after the heap can allocate and before the first block is handed out. */
	void (*started)(void);
	/* Allocations of a class until its next sample, at least 1 (INT64_MAX: never). `stretch`:
	 * sample_pace.h. */
	int64_t (*sample_interval)(size_t object_bytes, unsigned stretch, uint64_t *rng);
	/* The block is a sample. NULL: give one of this class (sampled.h), or NULL where memory
	 * lacks. */
	void *(*sample_alloc)(void *block, unsigned class_index, size_t requested_bytes,
			      size_t block_bytes, unsigned stretch, uintptr_t caller_pc);
	/* It is being freed, by a caller who keeps others from getting it; of class_index, or 0:
	 * the caller wants it back. */
	enum gy_sample_end (*sample_free)(void *block, unsigned class_index);
	/* While the gate (gate.h) is closed, under no lock: a block was taken, `bytes` were asked
	 * for; or one of so many bytes is about to be given back. class_index 0: a large one. */
	void (*record)(unsigned event, unsigned class_index, const void *block, size_t bytes,
		       uintptr_t caller_pc); /* enum gy_block_event */
	/* While the gate is closed: a small block is taken, any block is given back. */
	void *(*alloc_recorded)(unsigned class_index, size_t bytes, uintptr_t caller_pc);
	void (*free_recorded)(void *block, uintptr_t caller_pc);
	/* Called from slow paths under no lock: start the background thread, publish, if due. */
	void (*slow_path)(uintptr_t caller_pc);
};

extern const struct gy_heap_hooks gy_heap_hooks;

#endif
