/* short.c - objects that die young: 32 bytes each, chained to the one before, the chain dropped
 * after `chain` of them.
 *
 *	short [objects=200000000] [chain=100] [threads=2] [live_mib=0]
 *
 * Nothing else lives, or a list of live_mib that each cycle has to mark. Operations: objects. The
 * figure that counts is wall_s * threads / operations, collection included.
 */
#include "collector.h"

struct item {
	struct item *next;
	uint64_t a, b, c;
};
TYPE(item, next);

static uint64_t objects_each, chain;
static struct item *live;

static void *work(void *number)
{
	uint64_t sum = 0;

	for (uint64_t made = 0; made < objects_each;) {
		struct item *head = NULL;

		for (uint64_t i = 0; i < chain; i++, made++) {
			struct item *item = NEW(item);

			SET(&item->next, head);
			item->a = made;
			item->b = (uintptr_t)number;
			head = item;
		}
		bench_keep(head);
		while (head) {
			struct item *next = head->next;

			sum += head->a + head->b + head->c;
			if (GC_MANUAL)
				free(head);
			head = next;
		}
	}
	return (void *)(uintptr_t)sum;
}

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	struct bench_clock clock;
	uint64_t objects, live_count, sum;
	unsigned thread_count;

	objects = bench_arg_u64(&args, "objects", 200000000);
	chain = bench_arg_u64(&args, "chain", 100);
	live_count = (bench_arg_u64(&args, "live_mib", 0) << 20) / sizeof(struct item);
	thread_count = gc_arg_threads(&args, 2);
	bench_args_end(&args);
	objects_each = objects / thread_count;
	gc_begin();
	for (uint64_t i = 0; i < live_count; i++) {
		struct item *item = NEW(item);

		SET(&item->next, live);
		live = item;
	}
	clock = bench_begin();
	sum = gc_threads(thread_count, work);
	gc_end(&clock, (double)objects, sum);
	return 0;
}
