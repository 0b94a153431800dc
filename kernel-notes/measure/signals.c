/* signals.c - stopping every thread of a process by a signal, and what that does to its system calls.
 *
 * A stop: raise a flag, tgkill each thread, wait until each handler has counted itself in; the handlers
 * sleep on a futex until the flag is down. Then, for each blocking call: does it go on after a signal
 * whose handler was installed with SA_RESTART, or does the program see EINTR?
 */
#include "measure.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { THREADS_MOST = 512, STOP_ROUNDS = 41, SOON_MS = 20, LATE_MS = 60 };

static int stop_signal;
static atomic_int stopped, stop_flag, arrived, ended;
static atomic_int tids[THREADS_MOST];
static int pipe_fds[2];

static long futex(atomic_int *word, int operation, int value, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, operation, value, timeout, NULL, 0);
}

static void handler(int number)
{
	int saved = errno;

	(void)number;
	if (atomic_load(&stop_flag)) {
		atomic_fetch_add(&stopped, 1);
		while (atomic_load(&stop_flag))
			futex(&stop_flag, FUTEX_WAIT_PRIVATE, 1, NULL);
		atomic_fetch_sub(&stopped, 1);
	}
	errno = saved;
}

/* ---- stops ---- */

static void *blocked(void *slot)
{
	char byte;

	atomic_store((atomic_int *)slot, (int)syscall(SYS_gettid));
	atomic_fetch_add(&arrived, 1);
	while (!atomic_load(&ended) && read(pipe_fds[0], &byte, 1) < 0)
		;
	return NULL;
}

static void *running(void *slot)
{
	atomic_store((atomic_int *)slot, (int)syscall(SYS_gettid));
	atomic_fetch_add(&arrived, 1);
	while (!atomic_load_explicit(&ended, memory_order_relaxed))
		;
	return NULL;
}

static void stops(int count, void *(*run)(void *), const char *what)
{
	static pthread_t threads[THREADS_MOST];
	struct samples stop = {0}, go = {0};
	pthread_attr_t attributes;
	char text[96];

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 64 * KIB);
	atomic_store(&arrived, 0);
	atomic_store(&ended, 0);
	for (int i = 0; i < count; i++)
		if (pthread_create(&threads[i], &attributes, run, &tids[i]))
			exit(1);
	while (atomic_load(&arrived) < count)
		usleep(100);
	usleep(20000);
	for (int round = 0; round < STOP_ROUNDS; round++) {
		double begin = now_us();

		atomic_store(&stop_flag, 1);
		for (int i = 0; i < count; i++)
			syscall(SYS_tgkill, getpid(), atomic_load(&tids[i]), stop_signal);
		while (atomic_load(&stopped) < count)
			usleep(0);
		sample_add(&stop, now_us() - begin);
		begin = now_us();
		atomic_store(&stop_flag, 0);
		futex(&stop_flag, FUTEX_WAKE_PRIVATE, INT_MAX, NULL);
		while (atomic_load(&stopped))
			usleep(0);
		sample_add(&go, now_us() - begin);
	}
	snprintf(text, sizeof(text), "stop, %d threads %s", count, what);
	report(text, sample_median(&stop), "us");
	snprintf(text, sizeof(text), "  and let go");
	report(text, sample_median(&go), "us");
	atomic_store(&ended, 1);
	for (int i = 0; i < count; i++)
		if (run == blocked && write(pipe_fds[1], "x", 1) != 1)
			exit(1);
	for (int i = 0; i < count; i++)
		pthread_join(threads[i], NULL);
}

/* ---- EINTR ---- */

static int sockets[2], full[2], limited[2], queue, semaphores;
static atomic_int word;
static sem_t semaphore;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static pid_t child;

static struct timespec late(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	time.tv_nsec += LATE_MS * 1000000;
	time.tv_sec += time.tv_nsec / 1000000000;
	time.tv_nsec %= 1000000000;
	return time;
}

static const struct timespec brief = {0, LATE_MS * 1000000};

static long call_read(void)
{
	char byte;

	return read(pipe_fds[0], &byte, 1);
}

static long call_write(void)
{
	return write(full[1], &brief, sizeof(brief));
}

static long call_recv(void)
{
	char byte;

	return recv(sockets[0], &byte, 1, 0);
}

static long call_recv_limit(void)
{
	char byte;

	return recv(limited[0], &byte, 1, 0);
}

static long call_waitpid(void)
{
	return waitpid(child, NULL, 0);
}

static long call_futex(void)
{
	return futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL);
}

static long call_futex_limit(void)
{
	return futex(&word, FUTEX_WAIT_PRIVATE, 0, &brief);
}

static long call_cond_wait(void)
{
	pthread_mutex_lock(&mutex);
	errno = pthread_cond_wait(&condition, &mutex);
	pthread_mutex_unlock(&mutex);
	return errno ? -1 : 0;
}

static long call_cond_timedwait(void)
{
	struct timespec until = late(CLOCK_REALTIME);

	pthread_mutex_lock(&mutex);
	errno = pthread_cond_timedwait(&condition, &mutex, &until);
	pthread_mutex_unlock(&mutex);
	return errno ? -1 : 0;
}

static long call_sem_wait(void)
{
	return sem_wait(&semaphore);
}

static long call_sem_timedwait(void)
{
	struct timespec until = late(CLOCK_REALTIME);

	return sem_timedwait(&semaphore, &until);
}

static long call_poll(void)
{
	return poll(NULL, 0, LATE_MS);
}

static long call_select(void)
{
	struct timeval time = {0, LATE_MS * 1000};

	return select(0, NULL, NULL, NULL, &time);
}

static long call_epoll(void)
{
	struct epoll_event event;
	int fd = epoll_create1(EPOLL_CLOEXEC);
	long result = epoll_wait(fd, &event, 1, LATE_MS);
	int saved = errno;

	close(fd);
	errno = saved;
	return result;
}

static long call_nanosleep(void)
{
	return nanosleep(&brief, NULL);
}

static long call_clock_nanosleep(void)
{
	struct timespec until = late(CLOCK_MONOTONIC);

	errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	return errno ? -1 : 0;
}

static long call_sigtimedwait(void)
{
	sigset_t none;

	sigemptyset(&none);
	return sigtimedwait(&none, NULL, &brief);
}

static long call_semop(void)
{
	struct sembuf operation = {0, -1, 0};

	return semtimedop(semaphores, &operation, 1, &brief);
}

static long call_msgrcv(void)
{
	struct {
		long type;
		char text[8];
	} message;

	return msgrcv(queue, &message, sizeof(message.text), 0, 0);
}

/* All that any of the calls may wait for. */
static void release(void)
{
	static char drain[1 << 16];
	struct {
		long type;
		char text[8];
	} message = {1, ""};

	atomic_store(&word, 1);
	futex(&word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL);
	pthread_cond_broadcast(&condition);
	sem_post(&semaphore);
	if (write(pipe_fds[1], "x", 1) != 1 || send(sockets[1], "x", 1, 0) != 1 ||
	    read(full[0], drain, sizeof(drain)) < 1 || msgsnd(queue, &message, 8, 0))
		perror("release");
	if (child > 0)
		kill(child, SIGKILL);
}

struct call {
	const char *name;
	long (*run)(void);
	atomic_int tid;
	bool interrupted;
};

static void *caller(void *argument)
{
	struct call *call = argument;

	atomic_store(&call->tid, (int)syscall(SYS_gettid));
	errno = 0;
	call->interrupted = call->run() < 0 && errno == EINTR;
	return NULL;
}

static void interrupt(struct call *call)
{
	pthread_t thread;

	atomic_store(&word, 0);
	child = 0;
	if (call->run == call_waitpid) {
		child = fork();
		if (!child) {
			pause();
			_exit(0);
		}
	}
	if (pthread_create(&thread, NULL, caller, call))
		exit(1);
	while (!atomic_load(&call->tid))
		usleep(100);
	usleep(SOON_MS * 1000);
	syscall(SYS_tgkill, getpid(), atomic_load(&call->tid), stop_signal);
	usleep(SOON_MS * 1000);
	release();
	pthread_join(thread, NULL);
	report_text(call->name, call->interrupted ? "EINTR" : "goes on");
}

static void nonblocking(int fd, bool on)
{
	fcntl(fd, F_SETFL, on ? O_NONBLOCK : 0);
}

/* Empty what they read from, fill what they write to. */
static void prepare(void)
{
	static char bytes[4096];
	const int read_fds[] = {pipe_fds[0], sockets[0]};

	for (int i = 0; i < 2; i++) {
		nonblocking(read_fds[i], true);
		while (read(read_fds[i], bytes, sizeof(bytes)) > 0)
			;
		nonblocking(read_fds[i], false);
	}
	while (msgrcv(queue, bytes, 8, 0, IPC_NOWAIT) >= 0)
		;
	while (!sem_trywait(&semaphore))
		;
	nonblocking(full[1], true);
	while (write(full[1], bytes, sizeof(bytes)) > 0)
		;
	nonblocking(full[1], false);
}

static void interruptions(void)
{
	static struct call calls[] = {
		{.name = "read from a pipe", .run = call_read},
		{.name = "write to a full pipe", .run = call_write},
		{.name = "recv", .run = call_recv},
		{.name = "waitpid", .run = call_waitpid},
		{.name = "futex wait", .run = call_futex},
		{.name = "pthread_cond_wait", .run = call_cond_wait},
		{.name = "pthread_cond_timedwait", .run = call_cond_timedwait},
		{.name = "sem_wait", .run = call_sem_wait},
		{.name = "futex wait with a limit", .run = call_futex_limit},
		{.name = "sem_timedwait", .run = call_sem_timedwait},
		{.name = "recv with SO_RCVTIMEO", .run = call_recv_limit},
		{.name = "poll", .run = call_poll},
		{.name = "select", .run = call_select},
		{.name = "epoll_wait", .run = call_epoll},
		{.name = "nanosleep", .run = call_nanosleep},
		{.name = "clock_nanosleep until a time", .run = call_clock_nanosleep},
		{.name = "sigtimedwait", .run = call_sigtimedwait},
		{.name = "semtimedop", .run = call_semop},
		{.name = "msgrcv", .run = call_msgrcv},
	};
	struct timeval limit = {0, LATE_MS * 1000};

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, limited) || pipe(full) ||
	    sem_init(&semaphore, 0, 0))
		exit(1);
	setsockopt(limited[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	queue = msgget(IPC_PRIVATE, 0600);
	semaphores = semget(IPC_PRIVATE, 1, 0600);
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		prepare();
		interrupt(&calls[i]);
	}
	msgctl(queue, IPC_RMID, NULL);
	semctl(semaphores, 0, IPC_RMID);
}

int main(void)
{
	static const int counts[] = {1, 8, 64, 512};
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};

	report_machine();
	stop_signal = SIGPWR;
	if (sigaction(stop_signal, &action, NULL) || pipe(pipe_fds))
		return 1;
	for (size_t i = 0; i < 4; i++)
		stops(counts[i], blocked, "blocked in read");
	stops(1, running, "running");
	interruptions();
	return 0;
}
