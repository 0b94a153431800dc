/* leak.c - the functions of gyre/leak.h: validate, call down. */
#include <gyre/leak.h>

#include "base/bits.h"
#include "leak/leak.h"
#include "os/vm.h"

#include <errno.h>
#include <string.h>

_Static_assert(GYRE_LEAK_SCAN_EXACT == GYRE_LEAK_EXACT && GYRE_LEAK_SCAN_STOP == GYRE_LEAK_STOP,
	       "one set of flags");

struct tables {
	const struct gyre_leak_block *blocks;
	const struct gyre_leak_group *groups;
	uint32_t block_count, group_count;
};

static void fill_result(struct gyre_leak_result *result, const struct gyre_leak_header *header)
{
	const struct gyre_leak_round *last =
		&header->rounds[MIN(MAX(header->rounds_done, 1u), (uint32_t)GYRE_LEAK_ROUNDS) - 1];

	*result = (struct gyre_leak_result){
		.lost_blocks = header->lost_blocks,
		.lost_bytes = header->lost_bytes,
		.direct_blocks = header->direct_blocks,
		.direct_bytes = header->direct_bytes,
		.live_blocks = header->live_blocks,
		.live_bytes = header->live_bytes,
		.cpu_ns = header->cpu_ns,
		.wall_ns = header->ended_ns - header->began_ns,
		.stopped_ns = header->stopped_ns,
		.rounds = header->rounds_done,
		.unsettled = (header->uncertain &
			      (GYRE_LEAK_UNCERTAIN_UNSETTLED | GYRE_LEAK_UNCERTAIN_TIME)) != 0,
		.threads = last->threads,
		.registers_unseen = last->threads - MIN(last->threads, last->registers),
	};
}

static int visit_all(const struct tables *tables,
		     int (*visit)(const struct gyre_leak_loss *loss, void *context), void *context)
{
	int stop = 0;

	for (uint32_t i = 0; i < tables->block_count && !stop; i++) {
		const struct gyre_leak_block *block = &tables->blocks[i];
		struct gyre_leak_loss loss = {
			.block = (void *)(uintptr_t)block->address,
			.bytes = block->bytes,
			.direct = (block->flags & GYRE_LEAK_BLOCK_DIRECT) != 0,
			.held_blocks = block->held_blocks,
			.held_bytes = block->held_bytes,
			.age_ns = block->age_ns,
		};

		if (block->group && block->group <= tables->group_count) {
			const struct gyre_leak_group *group = &tables->groups[block->group - 1];

			loss.depth = MIN(group->depth, (uint32_t)GYRE_LEAK_FRAMES);
			loss.frames = group->frames;
		}
		stop = visit(&loss, context);
	}
	return stop;
}

/* Copies what the walk needs: the next scan writes over it. 0 or -errno. */
static int copy_result(const struct gyre_leak_header *header, uint32_t scan, char **memory,
		       size_t *bytes, struct tables *tables)
{
	uint32_t blocks = MIN(header->block_count, header->block_room);
	uint32_t groups = MIN(header->group_count, header->group_room);
	size_t block_bytes = gy_round_up(blocks * sizeof(*tables->blocks), 64);
	void *mapped;

	*bytes = gy_round_up(block_bytes + groups * sizeof(*tables->groups) + 1,
			     GY_KERNEL_PAGE_BYTES);
	if (gy_vm_map(&mapped, *bytes))
		return -ENOMEM;
	*memory = mapped;
	memcpy(mapped, (const char *)header + header->block_offset,
	       blocks * sizeof(*tables->blocks));
	memcpy((char *)mapped + block_bytes, (const char *)header + header->group_offset,
	       groups * sizeof(*tables->groups));
	*tables = (struct tables){mapped, (void *)((char *)mapped + block_bytes), blocks, groups};
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return READ_RELAXED(header->scan) == scan && READ_RELAXED(header->state) == GYRE_LEAK_DONE
		       ? 0
		       : -EAGAIN;
}

/* What was copied went through vector registers, and over this stack: left there, the address of a
 * lost block would hide it from the next scan. */
static GY_NOINLINE void forget(void)
{
	volatile uintptr_t area[512];

	for (size_t i = 0; i < ARRAY_SIZE(area); i++)
		area[i] = 0;
#if defined(__x86_64__)
	__asm__ volatile("pxor %%xmm0, %%xmm0\n\tpxor %%xmm1, %%xmm1\n\t"
			 "pxor %%xmm2, %%xmm2\n\tpxor %%xmm3, %%xmm3\n\t"
			 "pxor %%xmm4, %%xmm4\n\tpxor %%xmm5, %%xmm5\n\t"
			 "pxor %%xmm6, %%xmm6\n\tpxor %%xmm7, %%xmm7\n\t"
			 "pxor %%xmm8, %%xmm8\n\tpxor %%xmm9, %%xmm9"
			 :
			 :
			 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
			   "xmm9");
#endif
}

static int scan_and_copy(const struct gyre_control_leak *request, struct gyre_leak_result *result,
			 char **memory, size_t *bytes, struct tables *tables)
{
	const struct gyre_leak_header *header;
	uint32_t scan;
	int error = gy_leak_begin(request, &scan);

	if (error)
		return error;
	header = gy_leak_wait(scan);
	if (!header)
		return -EAGAIN;
	fill_result(result, header);
	error = header->error;
	if (error == -ETIME && result->rounds)
		error = 0; /* there is an answer, and it says what it is worth */
	if (!error)
		error = copy_result(header, scan, memory, bytes, tables);
	gy_leak_release(scan);
	return error;
}

GY_EXPORT GY_NOINLINE int gyre_leak_scan(const struct gyre_leak_options *options,
					 struct gyre_leak_result *result, size_t result_bytes,
					 int (*visit)(const struct gyre_leak_loss *loss,
						      void *context),
					 void *context)
{
	struct gyre_control_leak request = {.operation = GYRE_LEAK_SCAN};
	struct gyre_leak_result found;
	struct tables tables = {0};
	char *memory = NULL;
	size_t bytes = 0;
	int error;

	/* What the callers keep in registers lies on this stack from here on. */
	__builtin_unwind_init();
	if (options) {
		request.flags = options->flags;
		request.rounds = options->rounds;
		request.share_permille = options->share_permille;
		request.stop_after_ms = options->stop_after_ms;
		request.memory_bytes = options->memory_bytes;
		request.tag_mask = options->tag_mask;
	}
	if (request.flags & ~(GYRE_LEAK_SCAN_EXACT | GYRE_LEAK_SCAN_STOP))
		return -EINVAL;
	error = scan_and_copy(&request, &found, &memory, &bytes, &tables);
	if (!error && result && result_bytes) {
		memset(result, 0, result_bytes);
		memcpy(result, &found, MIN(result_bytes, sizeof(found)));
	}
	if (!error && visit)
		error = visit_all(&tables, visit, context);
	if (memory)
		gy_vm_unmap(memory, bytes);
	forget();
	return error;
}

GY_EXPORT int gyre_leak_ignore(const void *block)
{
	return block ? gy_leak_ignore((uintptr_t)block) : -EINVAL;
}

GY_EXPORT int gyre_leak_unignore(const void *block)
{
	return block ? gy_leak_unignore((uintptr_t)block) : -EINVAL;
}
