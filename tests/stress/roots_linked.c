/* roots_linked.c - objects that are held from one kind of place each, while cycles run.
 *
 *	roots_linked LIBRARY COPY SECONDS
 *
 * Each thread builds lists and leaves them in one place: thread-local storage, a library's that
 * was opened by dlopen (its globals, its thread-local storage), pthread_setspecific beyond the keys
 * that fit into the thread's own block, a range that was added, the stack of a coroutine. It clears
 * its own stack, lets cycles go by, then looks at the list. One more thread opens and closes a copy
 * of the library all the time.
 */
#include <gyre/gc.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define LENGTH 200
#define KEYS 100

struct item {
	struct item *next;
	uint64_t check;
};

static const struct gyre_type item_type = GYRE_TYPE(struct item, next);

struct place {
	const char *name;
	void (*put)(struct item *list);
	struct item *(*get)(void);
	unsigned rounds, wrong;
};

static uint32_t quit; /* [atomic] */
static const char *library_path;

/* ---- places ---- */

static struct item *global;
static __thread struct item *own;
static pthread_key_t keys[KEYS];
static void **range;
static void (*lib_put)(void *), (*lib_put_own)(void *);
static void *(*lib_get)(void), *(*lib_get_own)(void);

static void global_put(struct item *list)
{
	global = list;
}

static struct item *global_get(void)
{
	return global;
}

static void tls_put(struct item *list)
{
	own = list;
}

static struct item *tls_get(void)
{
	return own;
}

static void key_put(struct item *list)
{
	pthread_setspecific(keys[KEYS - 1], list);
}

static struct item *key_get(void)
{
	return pthread_getspecific(keys[KEYS - 1]);
}

static void range_put(struct item *list)
{
	if (!range) {
		range = malloc(1000 * sizeof(*range));
		memset(range, 0, 1000 * sizeof(*range));
		if (gyre_root_add(range, 1000 * sizeof(*range)))
			abort();
	}
	range[777] = list;
}

static struct item *range_get(void)
{
	return range[777];
}

static void library_put(struct item *list)
{
	lib_put(list);
}

static struct item *library_get(void)
{
	return lib_get();
}

static void library_tls_put(struct item *list)
{
	lib_put_own(list);
}

static struct item *library_tls_get(void)
{
	return lib_get_own();
}

/* ---- a thread per place ---- */

static void nap(long ns)
{
	struct timespec time = {0, ns};

	nanosleep(&time, NULL);
}

static __attribute__((noinline)) void build(const struct place *place, uint64_t seed)
{
	struct item *list = NULL;

	for (uint64_t i = 0; i < LENGTH; i++) {
		struct item *item = gyre_new(&item_type);

		if (!item)
			abort();
		item->check = seed + i;
		gyre_set(&item->next, list);
		list = item;
	}
	place->put(list);
}

static __attribute__((noinline)) bool is_whole(const struct place *place, uint64_t seed)
{
	uint64_t i = LENGTH;

	for (struct item *item = place->get(); item; item = item->next)
		if (item->check != seed + --i)
			return false;
	return i == 0;
}

/* What build left on the stack goes. */
static __attribute__((noinline)) void clear_stack(void)
{
	volatile char space[16384];

	for (unsigned i = 0; i < sizeof(space); i++)
		space[i] = 0;
}

static __attribute__((noinline)) void garbage(void)
{
	for (unsigned i = 0; i < 5000; i++)
		gyre_new(&item_type);
}

static void *holder_main(void *argument)
{
	struct place *place = argument;

	while (!__atomic_load_n(&quit, __ATOMIC_ACQUIRE)) {
		uint64_t seed = (uint64_t)place->rounds << 32;

		build(place, seed);
		clear_stack();
		for (unsigned i = 0; i < 20; i++) {
			garbage();
			clear_stack();
			nap(200000);
		}
		place->wrong += !is_whole(place, seed);
		place->put(NULL);
		place->rounds++;
	}
	return NULL;
}

/* ---- a coroutine: its stack comes from malloc, and it waits in the middle ---- */

static struct place on_coroutine = {.name = "a coroutine's stack"};
static ucontext_t coroutine_here, coroutine_there;
static struct item *coroutine_list;

static struct item *coroutine_get(void)
{
	return coroutine_list;
}

static void coroutine_put(struct item *list)
{
	coroutine_list = list;
}

static void coroutine_body(void)
{
	on_coroutine.put = coroutine_put;
	on_coroutine.get = coroutine_get;
	while (!__atomic_load_n(&quit, __ATOMIC_ACQUIRE)) {
		struct item *volatile list;

		build(&on_coroutine, 7);
		list = coroutine_list;
		coroutine_list = NULL;
		for (unsigned i = 0; i < 20; i++) {
			garbage();
			nap(200000);
		}
		coroutine_list = list;
		on_coroutine.wrong += !is_whole(&on_coroutine, 7);
		coroutine_list = NULL;
		on_coroutine.rounds++;
	}
}

static void *coroutine_main(void *unused)
{
	size_t bytes = 256 << 10;
	char *stack = malloc(bytes);

	(void)unused;
	getcontext(&coroutine_there);
	coroutine_there.uc_stack.ss_sp = stack;
	coroutine_there.uc_stack.ss_size = bytes;
	coroutine_there.uc_link = &coroutine_here;
	makecontext(&coroutine_there, coroutine_body, 0);
	swapcontext(&coroutine_here, &coroutine_there);
	free(stack);
	return NULL;
}

/* ---- a library that comes and goes ---- */

static unsigned opened;

static void *opener_main(void *unused)
{
	(void)unused;
	while (!__atomic_load_n(&quit, __ATOMIC_ACQUIRE)) {
		void *library = dlopen(library_path, RTLD_NOW | RTLD_LOCAL);
		void (*put)(void *);

		if (!library)
			continue;
		*(void **)&put = dlsym(library, "roots_lib_put");
		put(NULL);
		dlclose(library);
		opened++;
		nap(100000);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	static struct place places[] = {
		{.name = "a global", .put = global_put, .get = global_get},
		{.name = "thread-local storage", .put = tls_put, .get = tls_get},
		{.name = "a late key", .put = key_put, .get = key_get},
		{.name = "a range", .put = range_put, .get = range_get},
		{.name = "a library's global", .put = library_put, .get = library_get},
		{.name = "a library's thread-local storage",
		 .put = library_tls_put,
		 .get = library_tls_get},
	};
	enum { PLACES = sizeof(places) / sizeof(*places) };
	pthread_t threads[PLACES], coroutine, opener;
	struct gyre_gc_stats stats;
	unsigned failed = 0;
	time_t end;
	void *library;

	if (argc != 4)
		return 2;
	library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
	library_path = argv[2];
	if (!library)
		return 2;
	*(void **)&lib_put = dlsym(library, "roots_lib_put");
	*(void **)&lib_get = dlsym(library, "roots_lib_get");
	*(void **)&lib_put_own = dlsym(library, "roots_lib_put_own");
	*(void **)&lib_get_own = dlsym(library, "roots_lib_get_own");
	for (unsigned i = 0; i < KEYS; i++)
		if (pthread_key_create(&keys[i], NULL))
			return 2;
	end = time(NULL) + atoi(argv[3]);
	for (unsigned i = 0; i < PLACES; i++)
		pthread_create(&threads[i], NULL, holder_main, &places[i]);
	pthread_create(&coroutine, NULL, coroutine_main, NULL);
	pthread_create(&opener, NULL, opener_main, NULL);
	while (time(NULL) < end)
		if (gyre_gc_run())
			failed++;
	__atomic_store_n(&quit, 1, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < PLACES; i++)
		pthread_join(threads[i], NULL);
	pthread_join(coroutine, NULL);
	pthread_join(opener, NULL);
	gyre_gc_stats(&stats);
	printf("# %llu cycles, %u failed; the library was opened %u times\n",
	       (unsigned long long)stats.cycles, failed, opened);
	for (unsigned i = 0; i <= PLACES; i++) {
		const struct place *place = i < PLACES ? &places[i] : &on_coroutine;

		if (place->wrong || !place->rounds)
			printf("not ok - held from %s: %u of %u lists lost\n", place->name,
			       place->wrong, place->rounds);
		else
			printf("ok - held from %s\n", place->name);
	}
	printf("%s - no cycle failed\n", failed ? "not ok" : "ok");
	return 0;
}
