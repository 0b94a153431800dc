/* waits_linked.c - the C library's waits as blocking regions, and all that can cut them short.
 *
 *	waits_linked kinds | handler | jump | cancel | shared | actions | many
 *
 * In each case the collector runs cycle after cycle (with gc_poison: what is lost is overwritten)
 * while threads hold lists that nothing but their frames leads to:
 *
 *	kinds    one thread in each kind of wait, none of which has ever made an object: no signal,
 *	         no EINTR, nothing lost; a forked child collects too
 *	handler  a handler of the program's comes in the wait, and moves the only pointer about
 *	jump     it jumps out of the wait for good
 *	cancel   the thread is cancelled in its wait; its cleanup handler uses objects
 *	shared   a raw clone, and a child of vfork that is killed, wait on storage of their parent's
 *	actions  what the program set as handlers is what it is told
 *	many     more handlers than can be told apart: then waits are stopped by the signal
 */
#include <gyre/gc.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LENGTH 100

struct node {
	struct node *next;
	long value;
};

static const struct gyre_type node_type = GYRE_TYPE(struct node, next);
static int wrong, quit, waiting; /* [atomic] */

static void complain(const char *what, long number)
{
	printf("wrong: %s (%ld)\n", what, number);
	__atomic_add_fetch(&wrong, 1, __ATOMIC_SEQ_CST);
}

static bool is_over(void)
{
	return __atomic_load_n(&quit, __ATOMIC_SEQ_CST);
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

static void list_check(const char *what, const struct node *list)
{
	long count = 0;

	for (; list; list = list->next)
		if (list->value != count++)
			break;
	if (list || count != LENGTH)
		complain(what, count);
}

/* Not a wait: this thread is stopped by the signal. */
static void spin_ms(long ms)
{
	struct timespec from, now;

	clock_gettime(CLOCK_MONOTONIC, &from);
	do {
		sched_yield();
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - from.tv_sec) * 1000 + (now.tv_nsec - from.tv_nsec) / 1000000 < ms);
}

/* Uses a list far below the frames of its caller: who counts as being up there loses it. */
static __attribute__((noinline)) void use_deep_list(const char *what, long ms)
{
	volatile char far[64 << 10];
	struct node *list;

	far[0] = far[sizeof(far) - 1] = 0;
	list = list_make();
	spin_ms(ms);
	list_check(what, list);
	far[1] = far[0];
}

static struct gyre_gc_stats collect(unsigned runs)
{
	struct gyre_gc_stats stats;

	for (unsigned i = 0; i < runs; i++) {
		for (unsigned n = 0; n < 200; n++)
			gyre_new(&node_type);
		if (gyre_gc_run())
			complain("gyre_gc_run fails", errno);
	}
	gyre_gc_stats_read(&stats, sizeof(stats));
	return stats;
}

/* So many threads are to be signalled, and no more; who has only just begun to wait may be one. */
static void expect_stopped(uint64_t count)
{
	struct gyre_gc_stats stats = {0};

	for (int i = 0; i < 500; i++) {
		stats = collect(1);
		if (stats.threads_stopped == count)
			return;
		spin_ms(1);
	}
	complain("threads stopped by the signal", (long)stats.threads_stopped);
}

static void await(const int *word, int value)
{
	while (__atomic_load_n(word, __ATOMIC_SEQ_CST) != value)
		spin_ms(1);
}

static void nothing(int number)
{
	(void)number;
}

/* ---- kinds ---- */

static int pipe_out, pipe_in, listener;
static sem_t semaphore;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static const struct timespec second = {1, 0};
static sigset_t users; /* SIGUSR2 */

static struct timespec in_a_second(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	now.tv_sec++;
	return now;
}

static int wait_epoll(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(EPOLL_CLOEXEC), got;

	epoll_ctl(epoll, EPOLL_CTL_ADD, pipe_out, &event);
	got = epoll_wait(epoll, &event, 1, -1);
	close(epoll);
	return got;
}

static int wait_epoll_pwait(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(EPOLL_CLOEXEC), got;

	epoll_ctl(epoll, EPOLL_CTL_ADD, pipe_out, &event);
	got = epoll_pwait(epoll, &event, 1, -1, NULL);
	close(epoll);
	return got;
}

static int wait_poll(void)
{
	return poll(&(struct pollfd){.fd = pipe_out, .events = POLLIN}, 1, -1);
}

static int wait_ppoll(void)
{
	return ppoll(&(struct pollfd){.fd = pipe_out, .events = POLLIN}, 1, NULL, NULL);
}

static int wait_select(void)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(pipe_out, &set);
	return select(pipe_out + 1, &set, NULL, NULL, NULL);
}

static int wait_pselect(void)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(pipe_out, &set);
	return pselect(pipe_out + 1, &set, NULL, NULL, NULL, NULL);
}

static int wait_nanosleep(void)
{
	return nanosleep(&second, NULL);
}

static int wait_clock_nanosleep(void)
{
	return -clock_nanosleep(CLOCK_MONOTONIC, 0, &second, NULL);
}

static int wait_usleep(void)
{
	return usleep(999999);
}

static int wait_sleep(void)
{
	return -(int)sleep(1);
}

static int wait_accept(void)
{
	return accept(listener, NULL, NULL);
}

static int wait_accept4(void)
{
	return accept4(listener, NULL, NULL, SOCK_CLOEXEC);
}

static int wait_condition(void)
{
	int error;

	pthread_mutex_lock(&mutex);
	error = pthread_cond_wait(&condition, &mutex);
	pthread_mutex_unlock(&mutex);
	return -error;
}

static int wait_condition_timed(void)
{
	struct timespec until = in_a_second(CLOCK_REALTIME);
	int error;

	pthread_mutex_lock(&mutex);
	error = pthread_cond_timedwait(&condition, &mutex, &until);
	pthread_mutex_unlock(&mutex);
	return error == ETIMEDOUT ? 0 : -error;
}

static int wait_semaphore(void)
{
	return sem_wait(&semaphore);
}

static int wait_semaphore_timed(void)
{
	struct timespec until = in_a_second(CLOCK_REALTIME);

	return sem_timedwait(&semaphore, &until) && errno != ETIMEDOUT ? -1 : 0;
}

static int wait_signal(void)
{
	int number;

	return sigwait(&users, &number);
}

static int wait_signal_info(void)
{
	return sigtimedwait(&users, NULL, &second) < 0 && errno != EAGAIN ? -1 : 0;
}

static const struct {
	const char *name;
	int (*wait)(void);
} kinds[] = {
	{"epoll_wait", wait_epoll},
	{"epoll_pwait", wait_epoll_pwait},
	{"poll", wait_poll},
	{"ppoll", wait_ppoll},
	{"select", wait_select},
	{"pselect", wait_pselect},
	{"nanosleep", wait_nanosleep},
	{"clock_nanosleep", wait_clock_nanosleep},
	{"usleep", wait_usleep},
	{"sleep", wait_sleep},
	{"accept", wait_accept},
	{"accept4", wait_accept4},
	{"pthread_cond_wait", wait_condition},
	{"pthread_cond_timedwait", wait_condition_timed},
	{"sem_wait", wait_semaphore},
	{"sem_timedwait", wait_semaphore_timed},
	{"sigwait", wait_signal},
	{"sigtimedwait", wait_signal_info},
};

#define KINDS (sizeof(kinds) / sizeof(*kinds))

static struct node *handed[KINDS]; /* a list for each; the thread takes it */

static void *wait_main(void *number)
{
	size_t kind = (size_t)(uintptr_t)number;
	struct node *list = __atomic_exchange_n(&handed[kind], NULL, __ATOMIC_SEQ_CST);

	__atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
	if (kinds[kind].wait() < 0)
		complain(kinds[kind].name, errno);
	list_check(kinds[kind].name, list);
	return NULL;
}

static void listen_somewhere(void)
{
	struct sockaddr address = {.sa_family = AF_UNIX};

	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, &address, sizeof(address.sa_family)) || listen(listener, 4))
		complain("listen", errno);
}

static void release_all(pthread_t *threads)
{
	struct sockaddr_storage address;
	socklen_t bytes = sizeof(address);

	getsockname(listener, (struct sockaddr *)&address, &bytes);
	for (int i = 0; i < 2; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (connect(fd, (struct sockaddr *)&address, bytes))
			complain("connect", errno);
	}
	if (write(pipe_in, "x", 1) != 1)
		complain("write", errno);
	pthread_cond_broadcast(&condition);
	sem_post(&semaphore);
	sem_post(&semaphore);
	for (size_t i = 0; i < KINDS; i++)
		if (kinds[i].wait == wait_signal)
			pthread_kill(threads[i], SIGUSR2);
}

static void all_kinds(void)
{
	struct gyre_gc_stats stats;
	pthread_t threads[KINDS];
	int ends[2], status;
	pid_t child;

	if (pipe(ends))
		complain("pipe", errno);
	pipe_out = ends[0];
	pipe_in = ends[1];
	sem_init(&semaphore, 0, 0);
	listen_somewhere();
	sigemptyset(&users);
	sigaddset(&users, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &users, NULL);
	collect(1);
	for (size_t i = 0; i < KINDS; i++) {
		__atomic_store_n(&handed[i], list_make(), __ATOMIC_SEQ_CST);
		pthread_create(&threads[i], NULL, wait_main, (void *)(uintptr_t)i);
	}
	await(&waiting, KINDS);
	expect_stopped(0);
	stats = collect(20);
	if (stats.threads_stopped + stats.threads_blocked < KINDS)
		complain("threads in all", (long)(stats.threads_stopped + stats.threads_blocked));
	child = fork();
	if (!child) {
		struct node *list = list_make();

		collect(3);
		list_check("in the child", list);
		_exit(wrong ? 1 : 0);
	}
	if (waitpid(child, &status, 0) != child || status)
		complain("the child ends with", status);
	release_all(threads);
	for (size_t i = 0; i < KINDS; i++)
		pthread_join(threads[i], NULL);
}

/* ---- handler ---- */

/* Far apart, so that a scan of the two takes its time; one of them is NULL. */
#define LAST ((1 << 19) - 1)

static struct node *places[LAST + 1];

static void move(int number)
{
	(void)number;
	for (int i = 0; i < 200; i++) {
		unsigned from = places[0] ? 0 : LAST;
		struct node *list = places[from];

		places[from] = NULL;
		__atomic_signal_fence(__ATOMIC_SEQ_CST);
		places[LAST - from] = list;
		for (volatile int n = 0; n < 1000; n++)
			;
	}
}

static void *wait_for_ever(void *unused)
{
	struct epoll_event event;
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	__atomic_add_fetch(&waiting, 1, __ATOMIC_SEQ_CST);
	while (!is_over())
		if (epoll_wait(epoll, &event, 1, 1000) < 0 && errno != EINTR)
			complain("epoll_wait", errno);
	close(epoll);
	return unused;
}

static void *signal_often(void *thread)
{
	while (!is_over()) {
		pthread_kill(*(pthread_t *)thread, SIGUSR1);
		spin_ms(0);
	}
	return NULL;
}

/* Nobody's frames are to hold the list. */
static void *make_and_end(void *unused)
{
	places[0] = list_make();
	return unused;
}

static void by_handler(void)
{
	pthread_t waiter, sender;

	signal(SIGUSR1, move); /* before the collector starts */
	pthread_create(&waiter, NULL, make_and_end, NULL);
	pthread_join(waiter, NULL);
	pthread_create(&waiter, NULL, wait_for_ever, NULL);
	await(&waiting, 1);
	pthread_create(&sender, NULL, signal_often, &waiter);
	collect(100);
	__atomic_store_n(&quit, 1, __ATOMIC_SEQ_CST);
	pthread_join(sender, NULL);
	pthread_join(waiter, NULL);
	list_check("moved by a handler", places[0] ? places[0] : places[LAST]);
}

/* ---- jump ---- */

static sigjmp_buf back;

static void jump(int number)
{
	siglongjmp(back, number);
}

static void *jump_out(void *unused)
{
	for (volatile int i = 0; !is_over(); i++) {
		__atomic_store_n(&waiting, 1, __ATOMIC_SEQ_CST);
		if (!sigsetjmp(back, 1)) {
			if (i % 2)
				nanosleep(&(struct timespec){100, 0}, NULL);
			else
				poll(NULL, 0, -1);
			complain("a wait without end has ended", errno);
		}
		use_deep_list("after a jump out of a wait", 3);
	}
	return unused;
}

static void by_jump(void)
{
	struct sigaction action = {.sa_handler = jump};
	pthread_t thread;

	sigaction(SIGUSR1, &action, NULL);
	collect(1);
	pthread_create(&thread, NULL, jump_out, NULL);
	for (int i = 0; i < 60; i++) {
		await(&waiting, 1);
		spin_ms(2);
		__atomic_store_n(&waiting, 0, __ATOMIC_SEQ_CST);
		if (i == 59)
			__atomic_store_n(&quit, 1, __ATOMIC_SEQ_CST);
		pthread_kill(thread, SIGUSR1);
		collect(4);
	}
	pthread_join(thread, NULL);
}

/* ---- cancel ---- */

static void use_objects(void *unused)
{
	(void)unused;
	__atomic_store_n(&waiting, 2, __ATOMIC_SEQ_CST);
	use_deep_list("in a cleanup handler", 10);
}

static void unlock(void *unused)
{
	(void)unused;
	pthread_mutex_unlock(&mutex);
}

static void *be_cancelled(void *number)
{
	struct epoll_event event;

	pthread_cleanup_push(use_objects, NULL);
	__atomic_store_n(&waiting, 1, __ATOMIC_SEQ_CST);
	switch ((int)(intptr_t)number % 4) {
	case 0:
		epoll_wait(pipe_out, &event, 1, -1);
		break;
	case 1:
		nanosleep(&(struct timespec){100, 0}, NULL);
		break;
	case 2:
		pthread_mutex_lock(&mutex);
		pthread_cleanup_push(unlock, NULL);
		pthread_cond_wait(&condition, &mutex);
		pthread_cleanup_pop(1);
		break;
	default:
		sem_wait(&semaphore);
	}
	complain("a wait without end has ended", errno);
	pthread_cleanup_pop(0);
	return NULL;
}

static void by_cancel(void)
{
	sem_init(&semaphore, 0, 0);
	pipe_out = epoll_create1(EPOLL_CLOEXEC);
	collect(1);
	for (intptr_t i = 0; i < 40; i++) {
		pthread_t thread;
		void *result;

		__atomic_store_n(&waiting, 0, __ATOMIC_SEQ_CST);
		pthread_create(&thread, NULL, be_cancelled, (void *)i);
		await(&waiting, 1);
		spin_ms(i % 3);
		pthread_cancel(thread);
		await(&waiting, 2);
		collect(3);
		pthread_join(thread, &result);
		if (result != PTHREAD_CANCELED)
			complain("not cancelled", (long)i);
	}
}

/* ---- shared storage ---- */

static char stack[256 << 10] __attribute__((aligned(64)));

static int wait_as_clone(void *unused)
{
	(void)unused;
	while (!is_over())
		nanosleep(&(struct timespec){0, 1000}, NULL);
	__atomic_store_n(&waiting, 9, __ATOMIC_SEQ_CST);
	syscall(SYS_exit, 0);
	return 0;
}

static void *collect_on(void *unused)
{
	while (!is_over())
		collect(1);
	return unused;
}

static void *kill_child(void *pid)
{
	pid_t child;

	while (!(child = __atomic_load_n((pid_t *)pid, __ATOMIC_SEQ_CST)))
		spin_ms(1);
	spin_ms(20);
	kill(child, SIGKILL);
	return NULL;
}

static void vfork_and_kill(void)
{
	static pid_t child;
	pthread_t killer;
	pid_t pid;

	__atomic_store_n(&child, 0, __ATOMIC_SEQ_CST);
	pthread_create(&killer, NULL, kill_child, &child);
	pid = vfork();
	if (!pid) {
		__atomic_store_n(&child, getpid(), __ATOMIC_SEQ_CST);
		nanosleep(&(struct timespec){100, 0}, NULL);
		_exit(1);
	}
	waitpid(pid, NULL, 0);
	pthread_join(killer, NULL);
}

static void shared_storage(void)
{
	struct node *list = list_make();
	pthread_t collector;
	pid_t tid;

	pthread_create(&collector, NULL, collect_on, NULL);
	for (int i = 0; i < 3; i++) {
		vfork_and_kill();
		use_deep_list("after a child of vfork", 20);
	}
	tid = clone(wait_as_clone, stack + sizeof(stack) - 64,
		    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
			    CLONE_SYSVSEM,
		    NULL);
	if (tid < 0)
		complain("clone", errno);
	for (int i = 0; i < 100; i++) {
		struct node *other = list_make();

		spin_ms(1);
		list_check("beside a raw clone", other);
	}
	list_check("beside a raw clone", list);
	__atomic_store_n(&quit, 1, __ATOMIC_SEQ_CST);
	pthread_join(collector, NULL);
	await(&waiting, 9);
	list_check("beside a raw clone", list);
}

/* ---- actions ---- */

static int seen_number, seen_value;

static void full(int number, siginfo_t *info, void *context)
{
	seen_number = number;
	seen_value = context ? info->si_value.sival_int : -1;
}

static void expect_handler(const char *what, int number, void (*handler)(int))
{
	struct sigaction now;

	if (sigaction(number, NULL, &now) || now.sa_handler != handler)
		complain(what, number);
}

static void actions(void)
{
	struct sigaction action = {.sa_sigaction = full, .sa_flags = SA_SIGINFO}, before;

	signal(SIGUSR2, nothing);
	collect(1);
	usleep(1000);
	expect_handler("set before the collector's start", SIGUSR2, nothing);
	if (sigaction(SIGUSR1, &action, NULL) || sigaction(SIGUSR1, &action, &before))
		complain("sigaction", errno);
	if (before.sa_sigaction != full || !(before.sa_flags & SA_SIGINFO))
		complain("the action before", before.sa_flags);
	sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 42});
	if (seen_number != SIGUSR1 || seen_value != 42)
		complain("a handler with information gets", seen_value);
	if (signal(SIGUSR1, SIG_IGN) != (void (*)(int))(void *)full)
		complain("signal", 1);
	if (signal(SIGUSR1, SIG_DFL) != SIG_IGN || signal(SIGUSR1, nothing) != SIG_DFL)
		complain("signal", 2);
	expect_handler("signal", SIGUSR1, nothing);
	action = (struct sigaction){.sa_handler = nothing, .sa_flags = (int)SA_RESETHAND};
	before = action;
	sigaction(SIGUSR1, &action, &before);
	if (before.sa_handler != nothing)
		complain("sigaction", 2);
	raise(SIGUSR1);
	expect_handler("reset", SIGUSR1, SIG_DFL);
	if (sigaction(SIGKILL, &action, NULL) != -1 || errno != EINVAL ||
	    signal(0, nothing) != SIG_ERR)
		complain("what cannot be set", errno);
}

static void many(void)
{
	pthread_t thread;

	collect(1);
	for (uintptr_t i = 1; i <= 400; i++) { /* never called */
		void (*handler)(int) = (void (*)(int))(i << 20);

		signal(SIGUSR2, handler);
		expect_handler("one of many", SIGUSR2, handler);
	}
	signal(SIGUSR2, nothing);
	raise(SIGUSR2);
	pthread_create(&thread, NULL, wait_for_ever, NULL);
	await(&waiting, 1);
	expect_stopped(1);
	__atomic_store_n(&quit, 1, __ATOMIC_SEQ_CST);
	pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} cases[] = {
		{"kinds", all_kinds},    {"handler", by_handler},    {"jump", by_jump},
		{"cancel", by_cancel},   {"shared", shared_storage}, {"actions", actions},
		{"many", many},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (argc > 1 && !strcmp(argv[1], cases[i].name))
			cases[i].run();
	printf("done\n");
	return wrong ? 1 : 0;
}
