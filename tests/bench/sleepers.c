/* sleepers - a service of many threads that mostly sleep: what do their caches hold?
 *
 *	sleepers [threads=2000] [period_ms=2000] [seconds=6] [blocks=200] [max=131072]
 *	         [session=4096] [idle_ms=4000] [seed=1] [read=1] [bound=0]
 *
 * Each thread sleeps in epoll_wait, `period_ms` in the mean, wakes, works through a request, and
 * sleeps again: it allocates some `blocks` blocks (of a hundred 85 of 16 to 512 bytes, 13 up to
 * 8 KiB, 2 up to `max`), writes each in full, frees them in another order, and replaces one block
 * of the few that it keeps for good (its session). So at any instant a handful of threads are at
 * work and all others asleep with whatever cache their last request left them, which may be of
 * any size class: the case for which caches by thread are dreaded.
 *
 * Two readings: while that goes on (`busy`: mean and peak of readings 50 ms apart, the first
 * second left out), and `idle_ms` after the last request, nothing called meanwhile. Each is given
 * over `base_kib`, which was read when every thread had run and touched its stack, but not yet
 * allocated; and the sessions are taken off. What is left is the allocator's: caches, free
 * memory, its own structures.
 *
 * `cache` is what the allocator says of its threads' caches itself, -1 where it says nothing:
 * gyre_stats_read (free blocks), jemalloc's
 * stats.arenas.*.tcache_bytes, tcmalloc's current_total_thread_cache_bytes.
 *
 * read=0 does not ask for it: that costs time itself, and cpu_s then is the service's.
 *
 * bound=BYTES fails when a reading of the allocator's own figure is above that, or when a second
 * and a half after the last request more than a thirty-second of it is left.
 */
#include <dlfcn.h>
#include <gyre/gyre.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/epoll.h>

#include "bench.h"

#define BLOCKS_MAX 1024u
#define SESSION_BLOCKS 8u
#define STACK_BYTES (128u << 10)
#define MS 1000000ull

static struct {
	unsigned threads, period_ms, seconds, blocks, idle_ms, read;
	size_t max_bytes, session_bytes, bound_bytes;
	uint64_t seed;
} set;

static int nothing; /* an epoll descriptor that watches nothing */
static unsigned started, finished; /* [atomic] */
static bool go, stop;		   /* [atomic] */
static uint64_t session_live, requests; /* [atomic] */

static size_t draw(struct bench_rng *rng)
{
	uint64_t ticket = bench_below(rng, 100);

	if (ticket < 85)
		return bench_log_uniform(rng, 16, 512);
	return ticket < 98 ? bench_log_uniform(rng, 512, 8192)
			   : bench_log_uniform(rng, 8192, set.max_bytes);
}

static void *take(size_t bytes)
{
	void *block = malloc(bytes);

	if (!block)
		bench_die("malloc");
	memset(block, 1, bytes);
	return block;
}

/* count 0: only its stack is touched */
static void request(struct bench_rng *rng, unsigned count)
{
	void *volatile blocks[BLOCKS_MAX];

	for (unsigned i = 0; i < BLOCKS_MAX; i++)
		blocks[i] = NULL;
	for (unsigned i = 0; i < count; i++)
		blocks[i] = take(draw(rng));
	for (unsigned i = 0; i < count; i++) { /* in an order of its own */
		unsigned other = i + (unsigned)bench_below(rng, count - i);
		void *block = blocks[other];

		blocks[other] = blocks[i];
		free(block);
	}
}

static void replace_one(struct bench_rng *rng, void **session, size_t *bytes)
{
	unsigned which = (unsigned)bench_below(rng, SESSION_BLOCKS);
	size_t fresh = bench_below(rng, 2 * set.session_bytes / SESSION_BLOCKS) + 1;

	free(session[which]);
	session[which] = take(fresh);
	__atomic_add_fetch(&session_live, fresh - bytes[which], __ATOMIC_RELAXED);
	bytes[which] = fresh;
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void sleep_ms(unsigned ms)
{
	struct epoll_event event;

	epoll_wait(nothing, &event, 1, (int)ms);
}

static void *serve(void *argument)
{
	struct bench_rng rng = bench_rng_begin(set.seed * 100003 + (uintptr_t)argument);
	void *session[SESSION_BLOCKS] = {NULL};
	size_t bytes[SESSION_BLOCKS] = {0};

	request(&rng, 0);
	__atomic_add_fetch(&started, 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n(&go, __ATOMIC_ACQUIRE))
		sleep_ms(10);
	for (;;) {
		sleep_ms((unsigned)bench_below(&rng, 2 * set.period_ms) + 1);
		if (__atomic_load_n(&stop, __ATOMIC_RELAXED))
			break;
		request(&rng, set.blocks / 2 + (unsigned)bench_below(&rng, set.blocks));
		replace_one(&rng, session, bytes);
		__atomic_add_fetch(&requests, 1, __ATOMIC_RELAXED);
	}
	__atomic_add_fetch(&finished, 1, __ATOMIC_RELEASE);
	for (;;)
		sleep_ms(1000000); /* until the process ends */
	return NULL;
}

/* What the allocator says that its threads' caches hold, in bytes; -1: nothing. */
static double cache_bytes(void)
{
	static int (*stats)(struct gyre_stats *, size_t);
	static int (*number)(const char *, size_t *);
	static int (*mallctl)(const char *, void *, size_t *, void *, size_t);
	struct gyre_stats read;
	size_t bytes, length = sizeof(bytes);
	uint64_t epoch = 1;

	if (!set.read)
		return -1;

	if (!stats && !number && !mallctl) {
		*(void **)&stats = dlsym(RTLD_DEFAULT, "gyre_stats_read");
		*(void **)&number = dlsym(RTLD_DEFAULT, "MallocExtension_GetNumericProperty");
		*(void **)&mallctl = dlsym(RTLD_DEFAULT, "mallctl");
	}
	if (stats && stats(&read, sizeof(read)) == 0)
		return (double)read.thread_cache_bytes;
	if (number && number("tcmalloc.current_total_thread_cache_bytes", &bytes))
		return (double)bytes;
	if (mallctl && mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch)) == 0 &&
	    mallctl("stats.arenas.4096.tcache_bytes", &bytes, &length, NULL, 0) == 0)
		return (double)bytes;
	return -1;
}

static void start_threads(void)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, STACK_BYTES);
	for (uintptr_t i = 0; i < set.threads; i++)
		if ((errno = pthread_create(&thread, &attributes, serve, (void *)i)))
			bench_die("pthread_create");
	while (__atomic_load_n(&started, __ATOMIC_ACQUIRE) < set.threads)
		sleep_ms(5);
}

struct readings {
	double rss_sum, rss_peak, cache_sum, cache_peak;
	unsigned count;
};

static void read_once(struct readings *to, double base_kib)
{
	double live = (double)__atomic_load_n(&session_live, __ATOMIC_RELAXED) / 1024;
	double rss = (double)bench_statm_rss_kib() - base_kib - live;
	double cache = cache_bytes();

	to->rss_sum += rss;
	to->rss_peak = fmax(to->rss_peak, rss);
	to->cache_sum += cache;
	to->cache_peak = fmax(to->cache_peak, cache);
	to->count++;
	if (set.bound_bytes && cache > (double)set.bound_bytes) {
		fprintf(stderr, "sleepers: caches hold %.0f bytes\n", cache);
		exit(1);
	}
}

/* Until little is left: the machine may be busy, so it may take longer than it should. */
static void await_idle(void)
{
	for (unsigned looks = 0; set.bound_bytes && looks < 300; looks++) {
		if (cache_bytes() < (double)set.bound_bytes / 32)
			return;
		sleep_ms(100);
	}
	if (set.bound_bytes) {
		fprintf(stderr, "sleepers: idle, caches hold %.0f bytes\n", cache_bytes());
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct bench_args args = bench_args_begin(argc, argv);
	struct readings busy = {.cache_peak = -1}, idle = {.cache_peak = -1};
	long base_kib;

	set.threads = (unsigned)bench_arg_u64(&args, "threads", 2000);
	set.period_ms = (unsigned)bench_arg_u64(&args, "period_ms", 2000);
	set.seconds = (unsigned)bench_arg_u64(&args, "seconds", 6);
	set.blocks = (unsigned)bench_arg_u64(&args, "blocks", 200);
	set.max_bytes = bench_arg_u64(&args, "max", 131072);
	set.session_bytes = bench_arg_u64(&args, "session", 4096);
	set.idle_ms = (unsigned)bench_arg_u64(&args, "idle_ms", 4000);
	set.seed = bench_arg_u64(&args, "seed", 1);
	set.read = (unsigned)bench_arg_u64(&args, "read", 1);
	set.bound_bytes = bench_arg_u64(&args, "bound", 0);
	bench_args_end(&args);
	if (set.blocks > BLOCKS_MAX * 2 / 3 || (nothing = epoll_create1(EPOLL_CLOEXEC)) < 0)
		bench_die("blocks, or epoll_create1");
	cache_bytes(); /* dlsym allocates */
	start_threads();
	base_kib = bench_statm_rss_kib();
	__atomic_store_n(&go, true, __ATOMIC_RELEASE);
	for (double begin_s = now_s(); now_s() < begin_s + set.seconds;) {
		sleep_ms(50);
		if (now_s() >= begin_s + 1 || set.bound_bytes)
			read_once(&busy, (double)base_kib);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	while (__atomic_load_n(&finished, __ATOMIC_ACQUIRE) < set.threads)
		sleep_ms(5);
	sleep_ms(set.idle_ms);
	await_idle();
	read_once(&idle, (double)base_kib);

	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	printf("requests=%llu base_kib=%ld session_kib=%llu busy_kib=%.0f busy_peak_kib=%.0f "
	       "busy_cache_kib=%.0f busy_cache_peak_kib=%.0f idle_kib=%.0f idle_cache_kib=%.0f "
	       "cpu_s=%.3f\n",
	       (unsigned long long)requests, base_kib, (unsigned long long)session_live >> 10,
	       busy.rss_sum / busy.count, busy.rss_peak, busy.cache_sum / busy.count / 1024,
	       busy.cache_peak / 1024, idle.rss_sum, idle.cache_sum / 1024,
	       (double)use.ru_utime.tv_sec + (double)use.ru_utime.tv_usec * 1e-6 +
		       (double)use.ru_stime.tv_sec + (double)use.ru_stime.tv_usec * 1e-6);
	return 0;
}
