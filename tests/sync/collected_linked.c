/* collected_linked.c - objects whose only holder is a channel, a pool or a map, while cycles run.
 *
 *	collected_linked KIND COUNT
 *
 * Each object leads to a short list; who gets one checks all of it: one that was collected too soon shows, the
 * more so with gc_poison and gc_stress. That what nobody holds does go is shown by weak references and by the
 * size of the heap.
 *
 * chan     objects through traced channels with and without a buffer, and select
 * element  elements of five words, in the middle of which is the pointer
 * own      channels that are objects themselves: a reply channel in each request, never freed
 * pool     objects in a pool, got and put by four threads
 * dropped  what lies in a pool goes after two cycles, and not after one
 * map      four threads set, get and remove
 * tasks    arguments of tasks
 */
#include <gyre/gc.h>
#include <gyre/sync.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define check(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			printf("line %d: %s\n", __LINE__, #condition);                             \
			fflush(stdout);                                                            \
			abort();                                                                   \
		}                                                                                  \
	} while (0)
#define THREADS 4

struct node {
	struct node *next;
	unsigned long value, inverse;
};

struct request {
	struct node *list;
	struct gyre_chan *reply;
};

static const struct gyre_type node_type = GYRE_TYPE(struct node, next);
static const struct gyre_type request_type = GYRE_TYPE(struct request, list, reply);
static unsigned long count;
static struct gyre_chan *chans[3];
static struct gyre_pool *pool;
static struct gyre_map *map;

static struct node *list_new(unsigned long value)
{
	struct node *list = NULL;

	for (int i = 0; i < 4; i++) {
		struct node *node = gyre_new(&node_type);

		check(node);
		node->value = value;
		node->inverse = ~value;
		gyre_set(&node->next, list);
		list = node;
	}
	return list;
}

static unsigned long list_check(const struct node *list)
{
	unsigned long value = list->value;

	for (int i = 0; i < 4; i++, list = list->next)
		check(list && list->value == value && list->inverse == ~value);
	check(!list);
	return value;
}

static int over;
static unsigned cycles;

static void *collect(void *unused)
{
	while (!__atomic_load_n(&over, __ATOMIC_RELAXED)) {
		check(!gyre_gc_run());
		__atomic_fetch_add(&cycles, 1, __ATOMIC_RELAXED);
	}
	return unused;
}

/* All of them, and cycles all the time. */
static void together(void *(*run)(void *number))
{
	pthread_t threads[THREADS], collector;

	pthread_create(&collector, NULL, collect, NULL);
	for (size_t i = 0; i < THREADS; i++)
		check(!pthread_create(&threads[i], NULL, run, (void *)i));
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	__atomic_store_n(&over, 1, __ATOMIC_RELAXED);
	pthread_join(collector, NULL);
}

static struct gyre_gc_stats stats;

static unsigned long live_bytes(void)
{

	for (int i = 0; i < 3; i++)
		check(!gyre_gc_run());
	gyre_gc_stats(&stats);
	return stats.heap_live_bytes;
}

static void *chan_run(void *number)
{
	size_t self = (size_t)number;

	for (unsigned long i = 0; i < count; i++) {
		struct node *list = NULL;

		if (self < 2) {
			list = list_new(i);
			gyre_chan_send(chans[(i + self) % 3], &list);
		} else {
			struct gyre_case cases[3];
			int at;

			for (unsigned c = 0; c < 3; c++)
				cases[c] = (struct gyre_case){chans[c], &list, GYRE_RECV, false};
			at = gyre_select(cases, 3, GYRE_FOREVER);
			check(at >= 0 && list);
			check(list_check(list) < count);
		}
	}
	return NULL;
}

static void *element_run(void *number)
{
	struct {
		unsigned long a;
		struct node *list;
		unsigned long b[3];
	} element = {0};

	for (unsigned long i = 0; i < count; i++) {
		if ((size_t)number < 2) {
			element.a = element.b[2] = i;
			element.list = list_new(i);
			gyre_chan_send(chans[0], &element);
		} else {
			gyre_chan_recv(chans[0], &element);
			check(list_check(element.list) == element.a && element.a == element.b[2]);
		}
	}
	return NULL;
}

static void *own_run(void *number)
{
	for (unsigned long i = 0; i < count; i++) {
		struct request *request;

		if ((size_t)number < 2) {
			struct node *answer = NULL;

			request = gyre_new(&request_type);
			check(request);
			gyre_set(&request->reply, gyre_chan_new(8, i % 2, GYRE_COLLECTED));
			check(request->reply);
			gyre_set(&request->list, list_new(i));
			gyre_chan_send(chans[0], &request);
			check(!gyre_chan_recv(request->reply, &answer));
			check(list_check(answer) == i + 1);
		} else {
			struct node *answer;

			gyre_chan_recv(chans[0], &request);
			answer = list_new(list_check(request->list) + 1);
			gyre_chan_send(request->reply, &answer);
		}
	}
	return NULL;
}

static void *list_make(void *unused)
{
	(void)unused;
	return list_new(count + 1);
}

/* Gets and puts some; in the end all are in the pool again, and in no frame. */
static __attribute__((noinline)) void pool_some(size_t seed)
{
	struct node *held[30];
	unsigned many = 0;

	for (unsigned long i = 0; i < 500; i++) {
		if (many < 30 && (!many || (i * 2654435761u + seed) & 64)) {
			held[many] = gyre_pool_get(pool);
			list_check(held[many++]);
		} else {
			list_check(held[--many]);
			gyre_pool_put(pool, held[many]);
		}
	}
	while (many)
		gyre_pool_put(pool, held[--many]);
	memset(held, 0, sizeof(held));
	__asm__ volatile("" : : "r"(held) : "memory");
}

static void *pool_run(void *number)
{
	struct timespec nap = {0, 200000};

	while (__atomic_load_n(&cycles, __ATOMIC_RELAXED) < count / 100) {
		pool_some((size_t)number);
		nanosleep(&nap, NULL);
	}
	return NULL;
}

static struct gyre_weak *weak[100];

static __attribute__((noinline)) void fill_pool(void)
{
	for (int i = 0; i < 100; i++) {
		struct node *list = list_new((unsigned long)i);

		weak[i] = gyre_weak_new(list);
		gyre_pool_put(pool, list);
	}
}

static int left(void)
{
	int found = 0;

	for (int i = 0; i < 100; i++)
		found += gyre_weak_get(weak[i]) != NULL;
	return found;
}

/* Runs on a thread of its own, so that no dead frame of it holds an object. */
static void *dropped_run(void *unused)
{
	fill_pool();
	return unused;
}

static void dropped(void)
{
	pthread_t thread;

	pthread_create(&thread, NULL, dropped_run, NULL);
	pthread_join(thread, NULL);
	check(!gyre_gc_run());
	check(left() == 100); /* of the last generation: can still be got */
	for (int i = 0; i < 50; i++) {
		struct node *list = gyre_pool_get(pool);

		check(list && list_check(list) < 100);
	}
	check(!gyre_gc_run());
	check(!gyre_pool_get(pool)); /* too old by now, and held by nobody any more */
	check(!gyre_gc_run());
	check(left() < 20);
}

static void *map_run(void *number)
{
	unsigned long keys = count / 8 + 1;

	for (unsigned long i = 0; i < count; i++) {
		unsigned long key = (i * 31 + (size_t)number * 7) % keys;
		char name[32];
		size_t bytes = (size_t)snprintf(name, sizeof(name), "key %lu", key);
		struct node *list = gyre_map_get(map, name, bytes);

		if (list)
			check(list_check(list) == key);
		switch (i % 5) {
		case 0:
		case 1:
			check(!gyre_map_set(map, name, bytes, list_new(key)));
			break;
		case 2:
			list = gyre_map_get_or_set(map, name, bytes, list_new(key));
			check(list && list_check(list) == key);
			break;
		case 3:
			if (list)
				gyre_map_replace(map, name, bytes, list, list_new(key));
			break;
		default:
			list = gyre_map_remove(map, name, bytes);
			if (list)
				check(list_check(list) == key);
		}
	}
	return NULL;
}

static bool count_key(const void *key, size_t key_bytes, void *value, void *argument)
{
	check(key_bytes > 4 && !memcmp(key, "key ", 4));
	check(strtoul((const char *)key + 4, NULL, 10) == list_check(value));
	++*(size_t *)argument;
	return true;
}

static void map_check(void)
{
	size_t found = 0;

	gyre_map_each(map, count_key, &found);
	check(found == gyre_map_count(map));
	for (unsigned long key = 0; key <= count / 8; key++) {
		char name[32];
		size_t bytes = (size_t)snprintf(name, sizeof(name), "key %lu", key);

		gyre_map_remove(map, name, bytes);
	}
	check(gyre_map_count(map) == 0);
}

static unsigned long tasks_done;

static int task_run(void *argument)
{
	struct timespec nap = {0, 100000};

	if (list_check(argument) % 16 == 0)
		nanosleep(&nap, NULL);
	list_check(argument);
	__atomic_fetch_add(&tasks_done, 1, __ATOMIC_RELAXED);
	return 0;
}

static void tasks(void)
{
	struct gyre_task_group *group = gyre_task_group_new(3, GYRE_TRACED);

	check(group);
	for (unsigned long i = 0; i < count; i++)
		check(!gyre_task_group_go(group, task_run, list_new(i)));
	check(gyre_task_group_wait(group) == 0 && tasks_done == count);
	gyre_task_group_free(group);
}

int main(int argc, char **argv)
{
	const char *kind = argc > 2 ? argv[1] : "";

	count = argc > 2 ? strtoul(argv[2], NULL, 0) : 0;
	for (size_t i = 0; i < 3; i++)
		chans[i] = gyre_chan_new(strcmp(kind, "element") ? 8 : 40, i * 5, GYRE_TRACED);
	map = gyre_map_new();
	pool = gyre_pool_new(GYRE_TRACED, strcmp(kind, "dropped") ? list_make : NULL, NULL, NULL);
	check(chans[0] && chans[1] && chans[2] && map && pool);
	if (!strcmp(kind, "chan"))
		together(chan_run);
	else if (!strcmp(kind, "element"))
		together(element_run);
	else if (!strcmp(kind, "own"))
		together(own_run);
	else if (!strcmp(kind, "pool"))
		together(pool_run);
	else if (!strcmp(kind, "map"))
		together(map_run), map_check();
	else if (!strcmp(kind, "tasks"))
		tasks();
	else if (!strcmp(kind, "dropped"))
		dropped();
	else
		return 2;
	gyre_gc_stats(&stats);
	printf("%lu cycles meanwhile; %lu bytes live\n", (unsigned long)stats.cycles, live_bytes());
	return live_bytes() < 256 << 10 ? 0 : 3; /* a stack may hold a list by chance */
}
