/* hostile_linked.c - what programs do to a collector at three in the morning.
 *
 *	hostile_linked CASE
 *
 *	destructors	threads use the collector in their last round of TLS destructors, and end
 *			in a blocking region
 *	region		threads return, are cancelled, or end by a raw system call, in regions
 *	handler		threads end by pthread_exit in a signal handler
 *	leader		the main thread ends, the others go on
 *	stacks		coroutines on stacks of malloc and mmap, rooted; handlers on signal stacks
 *	cleanups	cleanups that allocate, run a cycle, add cleanups, wait, fork, and one in
 *			three that ends its thread
 *	behind		fields that hold the address just behind their object
 *	rights		setuid in a process whose collector runs
 *	fork		forks, vforks, spawned children and cycles at once; cycles in the children
 *	start		threads that ask for the first cycle all at once; with fault_call=13 the
 *			collector's thread cannot be made at first
 *
 * Each ends with "done" and status 0: no damage, nothing lost, no cycle that failed.
 */
#include <gyre/gc.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define LENGTH 200
#define THREADS 6
#define STACK_BYTES ((size_t)128 << 10)

struct node {
	struct node *next, *other;
	long value;
};

static const struct gyre_type node_type = GYRE_TYPE(struct node, next, other);
extern char **environ;

static int wrong, quit; /* [atomic] */

static void complain(const char *what, long number)
{
	printf("wrong: %s (%ld)\n", what, number);
	__atomic_add_fetch(&wrong, 1, __ATOMIC_SEQ_CST);
}

static void nap_us(long us)
{
	struct timespec time = {us / 1000000, us % 1000000 * 1000};

	while (nanosleep(&time, &time))
		;
}

static struct node *list_make(void)
{
	struct node *list = NULL;

	for (long i = LENGTH; i-- > 0;) {
		struct node *node = gyre_new(&node_type);

		node->value = i;
		gyre_set(&node->next, list);
		list = node;
	}
	return list;
}

static void list_check(struct node *list, const char *whose)
{
	long i = 0;

	for (; list && list->value == i; list = list->next)
		i++;
	if (list || i != LENGTH)
		complain(whose, i);
}

static void litter(void)
{
	for (unsigned i = 0; i < 2000; i++) {
		struct node *node = gyre_new(&node_type);

		if (node)
			node->value = -1;
	}
}

static void collect(void)
{
	if (gyre_gc_run())
		complain("gyre_gc_run fails", errno);
}

/* THREADS threads, `rounds` times; a cycle while they run and one when they have ended. */
static void crowd(unsigned rounds, void *(*main)(void *), void (*meanwhile)(pthread_t))
{
	pthread_t threads[THREADS];

	for (unsigned r = 0; r < rounds; r++) {
		for (long i = 0; i < THREADS; i++)
			if (pthread_create(&threads[i], NULL, main, (void *)i))
				abort();
		for (unsigned i = 0; meanwhile && i < THREADS; i++)
			meanwhile(threads[i]);
		collect();
		for (unsigned i = 0; i < THREADS; i++)
			pthread_join(threads[i], NULL);
		if (r % 4 == 0)
			collect();
	}
}

/* ---- destructors ---- */

static pthread_key_t early, late;

static void use_again(void *value)
{
	struct node *node = gyre_new(&node_type);

	gyre_set(&node->next, gyre_new(&node_type));
	gyre_blocking_begin();
	pthread_setspecific(late, value);
}

static void *ends_late(void *unused)
{
	(void)unused;
	pthread_setspecific(early, &early);
	pthread_setspecific(late, &late);
	litter();
	return NULL;
}

static void destructors(void)
{
	pthread_key_create(&early, use_again); /* before the collector's own key */
	litter();
	pthread_key_create(&late, use_again);
	crowd(40, ends_late, NULL);
}

/* ---- regions, handlers, the main thread ---- */

static void *ends_in_region(void *how)
{
	struct node *list = list_make();

	list_check(list, "one that ends in a region");
	gyre_blocking_begin();
	if ((long)how % 3 == 0) {
		gyre_blocking_begin();
		return NULL;
	}
	for (;;)
		nap_us(300);
}

static void *ends_raw(void *unused)
{
	litter();
	gyre_blocking_begin();
	syscall(SYS_exit, 0);
	return unused;
}

static void cancel(pthread_t thread)
{
	pthread_cancel(thread);
}

static void region(void)
{
	pthread_attr_t attributes;
	pthread_t thread;

	crowd(40, ends_in_region, cancel);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	for (unsigned i = 0; i < 40; i++) {
		pthread_create(&thread, &attributes, ends_raw, NULL);
		collect();
	}
	pthread_attr_destroy(&attributes);
}

static int in_loop; /* [atomic] */

static void *loops(void *unused)
{
	struct node *volatile list = list_make();

	__atomic_add_fetch(&in_loop, 1, __ATOMIC_SEQ_CST);
	while (!__atomic_load_n(&quit, __ATOMIC_SEQ_CST))
		list->next->other = NULL; /* it always was */
	return unused;
}

static void leave(int number)
{
	(void)number;
	pthread_exit(NULL);
}

static void hit(pthread_t thread)
{
	while (__atomic_load_n(&in_loop, __ATOMIC_SEQ_CST) < THREADS)
		nap_us(100);
	pthread_kill(thread, SIGUSR1);
}

static void handler(void)
{
	struct sigaction action = {.sa_handler = leave};

	sigaction(SIGUSR1, &action, NULL);
	for (unsigned i = 0; i < 20; i++) {
		in_loop = 0;
		crowd(1, loops, hit);
	}
}

static void finish(void)
{
	long lost = gyre_gc_verify();

	if (lost)
		complain("lost objects", lost);
	printf("done\n");
	exit(wrong ? 1 : 0);
}

static void *goes_on(void *main)
{
	pthread_join(*(pthread_t *)main, NULL);
	crowd(20, ends_in_region, cancel);
	finish();
	return NULL;
}

static void leader(void)
{
	static pthread_t self;
	pthread_t thread;

	self = pthread_self();
	collect();
	pthread_create(&thread, NULL, goes_on, &self);
	pthread_exit(NULL);
}

/* ---- stacks ---- */

static ucontext_t outside[THREADS], inside[THREADS];

static void coroutine(int i)
{
	struct node *volatile list = list_make();

	for (;;) {
		list_check(list, "a coroutine that runs");
		collect();
		litter();
		list_check(list, "a coroutine, after a cycle");
		swapcontext(&inside[i], &outside[i]);
	}
}

static void *runs_coroutine(void *number)
{
	struct node *volatile list = list_make();
	int i = (int)(long)number;
	void *stack = i % 2 ? malloc(STACK_BYTES)
			    : mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (gyre_root_add(stack, STACK_BYTES))
		complain("gyre_root_add", errno);
	getcontext(&inside[i]);
	inside[i].uc_stack.ss_sp = stack;
	inside[i].uc_stack.ss_size = STACK_BYTES;
	makecontext(&inside[i], (void (*)(void))coroutine, 1, i);
	for (unsigned round = 0; round < 8; round++) {
		swapcontext(&outside[i], &inside[i]);
		litter();
		list_check(list, "the thread of a coroutine");
	}
	gyre_root_remove(stack);
	if (i % 2)
		free(stack);
	else
		munmap(stack, STACK_BYTES);
	return NULL;
}

static struct node *global_list;

static void dawdle(int number)
{
	list_check(global_list, "what a handler reads");
	if (number == SIGUSR1)
		raise(SIGUSR2);
	for (volatile int i = 0; i < 20000; i++)
		;
}

static void *takes_signals(void *on_stack)
{
	stack_t stack = {.ss_sp = malloc(STACK_BYTES), .ss_size = STACK_BYTES};
	struct node *volatile list = list_make();

	if (on_stack)
		sigaltstack(&stack, NULL);
	while (!__atomic_load_n(&quit, __ATOMIC_SEQ_CST)) {
		list_check(list, "one that takes signals");
		litter();
	}
	stack.ss_flags = SS_DISABLE;
	sigaltstack(&stack, NULL);
	free(stack.ss_sp);
	return NULL;
}

static void stacks(void)
{
	struct sigaction action = {.sa_handler = dawdle, .sa_flags = SA_ONSTACK};
	pthread_t targets[2], threads[THREADS];

	global_list = list_make();
	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGUSR2, &action, NULL);
	for (long i = 0; i < 2; i++)
		pthread_create(&targets[i], NULL, takes_signals, (void *)i);
	for (long i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, runs_coroutine, (void *)i);
	for (unsigned i = 0; i < 300; i++) {
		pthread_kill(targets[i % 2], SIGUSR1);
		nap_us(500);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	__atomic_store_n(&quit, 1, __ATOMIC_SEQ_CST);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(targets[i], NULL);
}

/* ---- cleanups ---- */

#define CLEANUPS 30

static int ran; /* [atomic] */

static void nothing(void *unused)
{
	(void)unused;
}

static void misbehave(void *how)
{
	int status;
	pid_t child;

	__atomic_add_fetch(&ran, 1, __ATOMIC_SEQ_CST);
	switch ((uintptr_t)how % 6) {
	case 0:
		litter();
		break;
	case 1:
		collect();
		gyre_finalisers_wait();
		break;
	case 2:
		if (gyre_cleanup_add(gyre_new(&node_type), nothing, NULL))
			complain("gyre_cleanup_add", errno);
		break;
	case 3:
		child = fork();
		if (!child)
			_exit(gyre_gc_run() ? 1 : 0);
		if (waitpid(child, &status, 0) != child || status)
			complain("a child forked in a cleanup", status);
		break;
	default:
		pthread_exit(NULL);
	}
}

static __attribute__((noinline)) void drop_some(void)
{
	for (uintptr_t i = 0; i < CLEANUPS; i++)
		if (gyre_cleanup_add(gyre_new(&node_type), misbehave, (void *)i))
			complain("gyre_cleanup_add", errno);
}

static void *drops(void *unused)
{
	for (unsigned i = 0; i < 5; i++) {
		drop_some();
		litter();
		collect();
		gyre_finalisers_wait();
	}
	return unused;
}

static void cleanups(void)
{
	const int most = THREADS * 5 * CLEANUPS;

	crowd(1, drops, NULL);
	litter();
	collect();
	gyre_finalisers_wait();
	if (ran > most || ran < most - most / 20) /* a stale word may hold some */
		complain("cleanups ran", ran);
}

/* ---- behind ---- */

struct reader { /* of a text; `end` is just behind this very object at last */
	char *end;
	long text[3];
};

static const struct gyre_type reader_type = GYRE_TYPE(struct reader, end);

static void behind(void)
{
	static struct reader *kept[3000];
	struct gyre_gc_stats stats;

	for (unsigned round = 0; round < 10; round++) {
		for (unsigned i = 0; i < 3000; i++) {
			struct reader *reader = gyre_new(&reader_type);

			gyre_set(&reader->end, (char *)(reader + 1));
			if (i % 3 == 0)
				kept[i] = reader;
		}
		collect();
		if (gyre_gc_verify())
			complain("gyre_gc_verify", (long)round);
	}
	memset(kept, 0, sizeof(kept));
	collect();
	collect();
	gyre_gc_stats_read(&stats, sizeof(stats));
	if (stats.bytes_freed > stats.bytes_allocated || stats.heap_inuse_bytes > 4096)
		complain("bytes in use", (long)stats.heap_inuse_bytes);
}

/* ---- rights ---- */

static unsigned tasks_of_root(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned found = 0;

	while ((entry = readdir(tasks))) {
		char path[300], text[2048];
		const char *at;
		size_t got;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
		file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
		if (!file)
			continue;
		got = fread(text, 1, sizeof(text) - 1, file);
		text[got] = 0;
		fclose(file);
		at = strstr(text, "\nUid:\t");
		found += at && !strncmp(at + 6, "0\t0", 3);
	}
	closedir(tasks);
	return found;
}

static void *litters(void *unused)
{
	for (unsigned i = 0; i < 100; i++)
		litter();
	return unused;
}

static void rights(void)
{
	pthread_t threads[2];

	collect();
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, litters, NULL);
	if (setgid(65534) || setuid(65534))
		complain("setuid", errno);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	collect();
	/* The heap's own background thread looks about once a second. */
	for (unsigned i = 0; i < 500 && tasks_of_root(); i++)
		nap_us(10000);
	if (tasks_of_root())
		complain("threads that are still root's", tasks_of_root());
}

/* ---- fork ---- */

static void child_main(struct node *list)
{
	alarm(60);
	for (unsigned i = 0; i < 3; i++) {
		litter();
		collect();
		list_check(list, "a child's list");
	}
	if (gyre_gc_verify())
		complain("a child's gyre_gc_verify", 0);
	fflush(stdout);
	_exit(wrong ? 1 : 0);
}

static void *forks(void *how)
{
	struct node *volatile list = list_make();
	char word[] = "true";
	char *const arguments[] = {word, NULL};
	int status = 0;

	for (unsigned i = 0; i < 12; i++) {
		pid_t child = 0;

		if ((long)how % 3 == 0) {
			child = fork();
			if (!child)
				child_main(list);
		} else if ((long)how % 3 == 1) {
			if (posix_spawnp(&child, "true", NULL, NULL, arguments, environ))
				complain("posix_spawnp", errno);
		} else {
			child = vfork();
			if (!child) {
				execvp("true", arguments);
				_exit(1);
			}
		}
		if (child <= 0 || waitpid(child, &status, 0) != child || status)
			complain("a child", status);
		litter();
		list_check(list, "a parent's list");
	}
	return NULL;
}

/* ---- start ---- */

static void *asks_first(void *unused)
{
	litter();
	while (gyre_gc_run()) { /* EAGAIN at first, if so injected */
		if (errno != EAGAIN)
			complain("the first cycle", errno);
		nap_us(1000);
	}
	gyre_cleanup_add(gyre_new(&node_type), nothing, NULL);
	gyre_finalisers_wait();
	return unused;
}

static void fork_all(void)
{
	crowd(1, forks, NULL);
}

static void start(void)
{
	pthread_t threads[THREADS];

	for (unsigned i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, asks_first, NULL);
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	collect();
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
	{"destructors", destructors}, {"region", region},     {"handler", handler},
	{"leader", leader},	      {"stacks", stacks},     {"cleanups", cleanups},
	{"behind", behind},	      {"rights", rights},     {"fork", fork_all},
	{"start", start},
};

int main(int argc, char **argv)
{
	for (unsigned i = 0; argc > 1 && i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(argv[1], cases[i].name))
			continue;
		cases[i].run();
		finish();
	}
	return 2;
}
