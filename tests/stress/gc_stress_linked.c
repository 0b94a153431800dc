/* Threads that change graphs of objects, their own and shared ones, while cycles run and are checked.
 *
 *	gc_stress_linked [-t threads] [-s seconds] [-r seed] [-f]	(-f: also forks)
 *
 * Objects of every kind: typed, arrays (linked to by pointers into them), with a tail, conservative,
 * leaves; small and large. Each begins with a checksum of its own address and number, so that one that
 * was swept, moved over or poisoned shows when it is next looked at. They are held by stacks, globals,
 * thread-local variables, registered ranges, handles; stored with every kind of store; known to weak
 * references and cleanups. Threads wait in blocking regions and outside, come and go.
 *
 * The main thread, which touches no object, runs cycle after cycle by gyre_gc_verify. At the end the
 * threads leave, all roots are cleared, and 99.9 % of the bytes must have come back.
 *
 * With GYRE_TEST_NO_BARRIER (gc_nobarrier_linked.c) all stores are plain: then objects must be lost,
 * and gyre_gc_verify must say so.
 */
#include <gyre/gc.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef GYRE_TEST_NO_BARRIER
#define WITH_BARRIER 0
#else
#define WITH_BARRIER 1
#endif

#define THREADS_MAX 256
#define NODE_SLOTS 5
#define SHARED 512
#define LOCAL 64
#define FEW 8
#define LIVE_MOST ((uint64_t)192 << 20) /* bytes, beyond which threads drop what they have */

enum kind { NODE, TAIL, ANY, LEAF, KINDS };

struct head {
	uint64_t number; /* low bits: the kind */
	uint64_t check;
	uint64_t count; /* slots, or bytes of a leaf */
};

struct node {
	struct head head;
	void *slots[NODE_SLOTS];
	uint64_t unused;
};

struct tail {
	struct head head;
	void *slots[];
};

struct leaf {
	struct head head;
	unsigned char bytes[];
};

static const struct gyre_type node_type = GYRE_TYPE(struct node, slots);
static const struct gyre_type tail_type = GYRE_TYPE_TAIL_ONLY(struct tail, slots);

/* What a thread has. */
struct mutator {
	uint64_t random;
	unsigned index;
	void **local;	   /* on its stack */
	void **range;	   /* malloc'd, a registered root */
	struct gyre_handle *handles[FEW];
	struct gyre_weak *weaks[FEW];
	uint64_t steps;
};

static struct tail *shared; /* of SHARED slots */
static void *globals[THREADS_MAX][FEW];
static __thread void *thread_local_roots[FEW];
static unsigned over, drop;
static uint64_t numbers, steps, cleanups_made, cleanups_run, weak_gone, weak_seen;

/* Without the barrier a thread may meet what was swept before gyre_gc_verify has looked: it stands
 * still, and leaves the finding to the others. */
static _Noreturn void stand_still(int signal)
{
	(void)signal;
	for (;;)
		pause();
}

static _Noreturn void fail(const char *what, const void *object)
{
	const struct head *head = object;

	if (!WITH_BARRIER)
		stand_still(0);
	printf("%s: object %p, number %#llx, check %#llx, count %llu\n", what, object,
	       head ? (unsigned long long)head->number : 0, head ? (unsigned long long)head->check : 0,
	       head ? (unsigned long long)head->count : 0);
	fflush(stdout);
	abort();
}

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static uint64_t next_random(struct mutator *mutator)
{
	return mix(mutator->random += 0x9e3779b97f4a7c15u);
}

static uint64_t count_up(uint64_t *number)
{
	return __atomic_add_fetch(number, 1, __ATOMIC_RELAXED);
}

/* ---- stores, with the barrier or without --------------------------------------------------------- */

static void store(void **slot, void *value)
{
	if (WITH_BARRIER)
		gyre_set(slot, value);
	else
		__atomic_store_n(slot, value, __ATOMIC_RELAXED);
}

static void *exchange(void **slot, void *value)
{
	return WITH_BARRIER ? gyre_atomic_exchange(slot, value)
			    : __atomic_exchange_n(slot, value, __ATOMIC_SEQ_CST);
}

static bool compare_exchange(void **slot, void **expected, void *value)
{
	return WITH_BARRIER ? gyre_atomic_compare_exchange(slot, expected, value)
			    : __atomic_compare_exchange_n(slot, expected, value, false,
							  __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

static void copy(void **to, void **from, size_t count)
{
	if (WITH_BARRIER)
		gyre_copy(to, from, count);
	else
		for (size_t i = 0; i < count; i++)
			store(&to[i], __atomic_load_n(&from[i], __ATOMIC_RELAXED));
}

static void *load(void **slot)
{
	return __atomic_load_n(slot, __ATOMIC_RELAXED);
}

/* ---- objects ------------------------------------------------------------------------------------ */

static uint64_t check_of(const struct head *head)
{
	return mix(head->number ^ (uintptr_t)head) + head->count;
}

static void head_init(struct head *head, enum kind kind, uint64_t count)
{
	head->number = count_up(&numbers) * KINDS + kind;
	head->count = count;
	head->check = check_of(head);
}

static void check(const void *object)
{
	const struct head *head = object;
	const struct leaf *leaf = object;

	if (head->check != check_of(head))
		fail("damaged", object);
	if (head->number % KINDS != LEAF)
		return;
	for (uint64_t i = 0; i < head->count; i += 1 + head->count / 16)
		if (leaf->bytes[i] != (unsigned char)(head->number / KINDS + i))
			fail("a leaf's bytes are damaged", object);
}

static void *new_nodes(struct mutator *mutator)
{
	uint64_t random = next_random(mutator), count = 2 + random % 30;
	struct node *nodes;

	if (random >> 32 & 3) { /* one */
		nodes = gyre_new(&node_type);
		if (nodes)
			head_init(&nodes->head, NODE, NODE_SLOTS);
		return nodes;
	}
	nodes = gyre_new_array(&node_type, count);
	for (uint64_t i = 0; nodes && i < count; i++) {
		for (unsigned j = 0; j < NODE_SLOTS; j++)
			if (nodes[i].slots[j])
				fail("an array is not zeroed", nodes);
		head_init(&nodes[i].head, NODE, NODE_SLOTS);
	}
	return nodes ? &nodes[count / 2] : NULL; /* known by a pointer into it */
}

static void *new_leaf(struct mutator *mutator)
{
	uint64_t random = next_random(mutator);
	uint64_t bytes = random % 200 ? random >> 20 & 255 : random >> 20 & 0xfffff;
	struct leaf *leaf = gyre_new_leaf(sizeof(*leaf) + bytes);

	if (!leaf)
		return NULL;
	head_init(&leaf->head, LEAF, bytes);
	for (uint64_t i = 0; i < bytes; i++)
		leaf->bytes[i] = (unsigned char)(leaf->head.number / KINDS + i);
	return leaf;
}

static void *new_object(struct mutator *mutator)
{
	uint64_t random = next_random(mutator);
	uint64_t count = random % 300 ? random >> 20 & 31 : random >> 20 & 0x7fff;
	struct tail *tail;

	switch (random >> 40 & 7) {
	case 0:
		tail = gyre_new_tail(&tail_type, count);
		break;
	case 1:
		tail = gyre_new_conservative(sizeof(*tail) + count * sizeof(void *));
		break;
	case 2:
		return new_leaf(mutator);
	default:
		return new_nodes(mutator);
	}
	if (!tail)
		return NULL;
	for (uint64_t i = 0; i < count; i++)
		if (tail->slots[i])
			fail("an object is not zeroed", tail);
	head_init(&tail->head, random >> 40 & 7 ? ANY : TAIL, count);
	return tail;
}

/* ---- walking ------------------------------------------------------------------------------------ */

static void **slots_of(void *object, uint64_t *count)
{
	struct head *head = object;

	*count = head->number % KINDS == LEAF ? 0 : head->count;
	return ((struct tail *)object)->slots; /* where a node has them too */
}

static void *some_root(struct mutator *mutator)
{
	uint64_t random = next_random(mutator);
	unsigned i = (unsigned)(random >> 8);

	switch (random & 7) {
	case 0:
		return load(&globals[mutator->index][i % FEW]);
	case 1:
		return thread_local_roots[i % FEW];
	case 2:
		return load(&mutator->range[i % FEW]);
	case 3:
		return gyre_handle_get(mutator->handles[i % FEW]);
	case 4:
		return gyre_atomic_load(&shared->slots[i % SHARED]);
	default:
		return mutator->local[i % LOCAL];
	}
}

/* An object somewhere below a root, checked; NULL where the way ended. */
static void *walk(struct mutator *mutator)
{
	void *object = some_root(mutator);
	uint64_t random = next_random(mutator), count;
	void **slots, *next;

	for (unsigned depth = (unsigned)(random & 7); object && depth; depth--) {
		check(object);
		slots = slots_of(object, &count);
		if (!count)
			break;
		random = next_random(mutator);
		next = load(&slots[random % count]);
		if (!next)
			break;
		object = next;
	}
	if (object)
		check(object);
	return object;
}

static void **some_slot(struct mutator *mutator)
{
	void *object = walk(mutator);
	uint64_t count = 0;
	void **slots = object ? slots_of(object, &count) : NULL;

	return count ? &slots[next_random(mutator) % count] : NULL;
}

/* ---- steps -------------------------------------------------------------------------------------- */

static void root_step(struct mutator *mutator, void *object)
{
	uint64_t random = next_random(mutator);
	unsigned i = (unsigned)(random >> 8);

	switch (random & 7) {
	case 0:
		__atomic_store_n(&globals[mutator->index][i % FEW], object, __ATOMIC_RELAXED);
		break;
	case 1:
		thread_local_roots[i % FEW] = object;
		break;
	case 2:
		__atomic_store_n(&mutator->range[i % FEW], object, __ATOMIC_RELAXED);
		break;
	case 3:
		gyre_handle_set(mutator->handles[i % FEW], object);
		break;
	default:
		mutator->local[i % LOCAL] = object;
		break;
	}
}

static void clean(void *argument)
{
	if (argument)
		check(argument);
	count_up(&cleanups_run);
}

static void weak_step(struct mutator *mutator)
{
	uint64_t random = next_random(mutator);
	struct gyre_weak **weak = &mutator->weaks[random % FEW];
	void *object = *weak ? gyre_weak_get(*weak) : NULL;

	if (object) {
		check(object);
		count_up(&weak_seen);
		if (random >> 32 & 1)
			root_step(mutator, object);
		if (random >> 33 & 7)
			return;
	} else if (*weak) {
		count_up(&weak_gone);
	}
	gyre_weak_free(*weak);
	object = random >> 40 & 1 ? walk(mutator) : new_object(mutator);
	*weak = object ? gyre_weak_new(object) : NULL;
	if (object && !*weak)
		fail("a weak reference was refused", object);
	if (object && !(random >> 44 & 3)) {
		if (gyre_cleanup_add(object, clean, new_object(mutator)))
			fail("a cleanup was refused", object);
		count_up(&cleanups_made);
	}
}

static void *short_life(void *argument);

static void wait_step(struct mutator *mutator)
{
	uint64_t random = next_random(mutator);
	struct timespec brief = {0, (long)(random % 100000)};
	pthread_t thread;

	if (random >> 32 & 1)
		gyre_blocking_begin();
	nanosleep(&brief, NULL);
	if (random >> 32 & 1)
		gyre_blocking_end();
	if ((random >> 33 & 31) || mutator->index >= THREADS_MAX / 2)
		return;
	if (!pthread_create(&thread, NULL, short_life, (void *)(uintptr_t)mutator->index))
		pthread_join(thread, NULL);
}

static void pointers_step(struct mutator *mutator)
{
	void **from = some_slot(mutator), **to = some_slot(mutator), *object, *old;
	uint64_t random = next_random(mutator);
	void **shared_slot = &shared->slots[random >> 16 & (SHARED - 1)];

	if (!from || !to)
		return;
	object = load(from);
	switch (random & 15) {
	case 0: /* move: what hides a pointer from a marker */
	case 1:
		store(to, object);
		store(from, NULL);
		break;
	case 2: /* through a register only */
		store(from, NULL);
		for (volatile int i = 0; i < 50; i++)
			;
		store(to, object);
		break;
	case 3:
		store(to, NULL);
		break;
	case 4:
	case 5:
		store(from, exchange(shared_slot, object));
		break;
	case 6:
		old = gyre_atomic_load(shared_slot);
		if (compare_exchange(shared_slot, &old, object))
			store(from, old);
		break;
	case 7:
		root_step(mutator, object);
		break;
	case 8:
		store(to, object);
		break;
	default: /* swap */
		store(from, load(to));
		store(to, object);
		break;
	}
}

static void copy_step(struct mutator *mutator)
{
	void *object = walk(mutator), **slots;
	uint64_t count = 0, random = next_random(mutator);

	if (!object)
		return;
	slots = slots_of(object, &count);
	if (count < 4)
		return;
	copy(&slots[random % (count / 2)], &slots[random >> 20 & 1], count / 2);
}

static void drop_all(struct mutator *mutator)
{
	for (unsigned i = 0; i < LOCAL; i++)
		mutator->local[i] = NULL;
	for (unsigned i = 0; i < FEW; i++) {
		thread_local_roots[i] = NULL;
		__atomic_store_n(&mutator->range[i], NULL, __ATOMIC_RELAXED);
		__atomic_store_n(&globals[mutator->index][i], NULL, __ATOMIC_RELAXED);
		gyre_handle_set(mutator->handles[i], NULL);
	}
	for (unsigned i = 0; i < SHARED; i++)
		exchange(&shared->slots[i], NULL);
}

static void step(struct mutator *mutator)
{
	uint64_t random = next_random(mutator);
	void **slot, *object;

	if (random % 1024 == 0) {
		wait_step(mutator);
	} else if (random % 64 == 1) {
		weak_step(mutator);
	} else if (random % 64 == 2) {
		copy_step(mutator);
	} else if (random % 64 < 20) {
		object = new_object(mutator);
		if (!object)
			return;
		slot = some_slot(mutator);
		if (slot && random >> 32 & 3)
			store(slot, object);
		else
			root_step(mutator, object);
	} else {
		pointers_step(mutator);
	}
}

static void live(unsigned index, uint64_t most)
{
	void *local[LOCAL] = {NULL};
	struct mutator mutator = {.index = index, .local = local};
	unsigned dropped = __atomic_load_n(&drop, __ATOMIC_RELAXED);

	mutator.random = mix(count_up(&numbers) * 2 + index);
	mutator.range = calloc(FEW, sizeof(void *));
	if (!mutator.range || gyre_root_add(mutator.range, FEW * sizeof(void *)))
		fail("a root was refused", NULL);
	for (unsigned i = 0; i < FEW; i++)
		mutator.handles[i] = gyre_handle_new(NULL);
	while (!__atomic_load_n(&over, __ATOMIC_RELAXED) && mutator.steps < most) {
		step(&mutator);
		mutator.steps++;
		if (__atomic_load_n(&drop, __ATOMIC_RELAXED) == dropped)
			continue;
		dropped = __atomic_load_n(&drop, __ATOMIC_RELAXED);
		drop_all(&mutator);
	}
	for (unsigned i = 0; i < FEW; i++) {
		gyre_handle_free(mutator.handles[i]);
		gyre_weak_free(mutator.weaks[i]);
	}
	if (gyre_root_remove(mutator.range))
		fail("a root was not found", NULL);
	free(mutator.range);
	__atomic_add_fetch(&steps, mutator.steps, __ATOMIC_RELAXED);
}

static void *short_life(void *argument)
{
	live((unsigned)(uintptr_t)argument + THREADS_MAX / 2, 2000);
	return NULL;
}

static void *long_life(void *argument)
{
	live((unsigned)(uintptr_t)argument, UINT64_MAX);
	return NULL;
}

/* ---- the main thread ---------------------------------------------------------------------------- */

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* In a child, which has one thread, and whose objects are as they were. */
static int fork_step(void)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0) {
		alarm(60);
		for (unsigned i = 0; i < SHARED; i++)
			if (shared->slots[i])
				check(shared->slots[i]);
		_exit(gyre_gc_verify() == 0 && gyre_gc_run() == 0 ? 0 : 1);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return 0;
	if (status)
		printf("a forked child ended with status %#x\n", (unsigned)status);
	return status;
}

static __attribute__((noinline)) void make_shared(void)
{
	shared = gyre_new_tail(&tail_type, SHARED);
	head_init(&shared->head, TAIL, SHARED);
}

int main(int argc, char **argv)
{
	static pthread_t threads[THREADS_MAX];
	struct gyre_gc_stats stats;
	unsigned thread_count = 2, made = 0;
	double seconds = 5, until;
	bool forks = false;
	uint64_t most_inuse = 0, verified = 0;
	long lost = 0;
	int option, bad = 0;

	while ((option = getopt(argc, argv, "t:s:r:f")) != -1) {
		if (option == 't')
			thread_count = (unsigned)atoi(optarg);
		else if (option == 's')
			seconds = atof(optarg);
		else if (option == 'r')
			numbers = strtoull(optarg, NULL, 0);
		else
			forks = true;
	}
	if (!WITH_BARRIER)
		signal(SIGSEGV, stand_still);
	make_shared();
	for (; made < thread_count && made < THREADS_MAX / 2; made++)
		if (pthread_create(&threads[made], NULL, long_life, (void *)(uintptr_t)made))
			break;
	until = now() + seconds;
	while (now() < until && lost == 0 && !bad) {
		lost = gyre_gc_verify();
		verified++;
		gyre_gc_stats(&stats);
		if (stats.heap_inuse_bytes > most_inuse)
			most_inuse = stats.heap_inuse_bytes;
		if (stats.heap_live_bytes > LIVE_MOST)
			__atomic_add_fetch(&drop, 1, __ATOMIC_RELAXED);
		if (forks && verified % 4 == 0)
			bad = fork_step();
	}
	if (!WITH_BARRIER) {
		printf("%ld objects lost\n", lost);
		fflush(stdout);
		_exit(lost > 0 ? 1 : 0);
	}
	gyre_gc_stats(&stats);
	most_inuse = stats.heap_inuse_bytes;
	__atomic_store_n(&over, 1, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < made; i++)
		pthread_join(threads[i], NULL);
	shared = NULL;
	memset(globals, 0, sizeof(globals));
	for (int i = 0; i < 4 && !lost; i++) { /* cleanups, and what their arguments lead to */
		lost = gyre_gc_verify();
		gyre_finalisers_wait();
	}
	gyre_gc_stats(&stats);
	printf("# %llu steps, %llu objects, %llu cycles, %llu verified, %llu KiB in use, %llu left; weak: %llu "
	       "seen, %llu gone; cleanups: %llu of %llu; longest pause %llu us\n",
	       (unsigned long long)steps, (unsigned long long)numbers, (unsigned long long)stats.cycles,
	       (unsigned long long)verified, (unsigned long long)most_inuse >> 10,
	       (unsigned long long)stats.heap_inuse_bytes, (unsigned long long)weak_seen,
	       (unsigned long long)weak_gone, (unsigned long long)cleanups_run,
	       (unsigned long long)cleanups_made, (unsigned long long)stats.pause_max_ns / 1000);
	if (lost)
		printf("%ld objects lost\n", lost);
	if (stats.heap_inuse_bytes > most_inuse / 1000) {
		printf("%llu of %llu bytes did not come back\n",
		       (unsigned long long)stats.heap_inuse_bytes, (unsigned long long)most_inuse);
		bad = 1;
	}
	if (stats.failed_stops) {
		printf("%llu cycles were given up\n", (unsigned long long)stats.failed_stops);
		bad = 1;
	}
	if (cleanups_run > cleanups_made) {
		printf("cleanups ran twice\n");
		bad = 1;
	}
	return lost || bad;
}
