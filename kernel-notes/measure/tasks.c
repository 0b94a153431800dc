/* tasks.c - finding every thread of the process: /proc/self/task.
 *
 * What a listing costs, what the count of links costs, whether a listing misses a thread that was there
 * all the time while others come and go, what is told of a thread that has ended, and of one that
 * blocks a signal.
 */
#include "measure.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>

enum { THREADS_MOST = 512, ROUNDS = 20, VICTIMS = 100, STAYING = 32 };

static pthread_mutex_t hold = PTHREAD_MUTEX_INITIALIZER;
static atomic_int arrived, ending;
static atomic_int tids[THREADS_MOST];

static void *waiter(void *slot)
{
	atomic_store((atomic_int *)slot, (int)syscall(SYS_gettid));
	atomic_fetch_add(&arrived, 1);
	pthread_mutex_lock(&hold);
	pthread_mutex_unlock(&hold);
	return NULL;
}

/* Lives until its turn to end. */
static void *victim(void *number)
{
	atomic_fetch_add(&arrived, 1);
	while (atomic_load(&ending) <= *(int *)number)
		usleep(500);
	return NULL;
}

static long links(void)
{
	struct stat status;

	return stat("/proc/self/task", &status) ? -1 : (long)status.st_nlink;
}

/* Lists all threads; how many of the first `count` of tids were among them. */
static int list(int count, int *listed)
{
	DIR *folder = opendir("/proc/self/task");
	struct dirent *entry;
	int found = 0;

	*listed = 0;
	while (folder && (entry = readdir(folder))) {
		int tid = atoi(entry->d_name);

		*listed += tid > 0;
		for (int i = 0; tid && i < count; i++)
			found += atomic_load(&tids[i]) == tid;
	}
	if (folder)
		closedir(folder);
	return found;
}

static void costs(int count)
{
	struct samples listing = {0}, linking = {0};
	char text[96];
	int listed;

	for (int i = 0; i < 101; i++) {
		double begin = now_us();

		list(0, &listed);
		sample_add(&listing, now_us() - begin);
		begin = now_us();
		links();
		sample_add(&linking, now_us() - begin);
	}
	snprintf(text, sizeof(text), "listing /proc/self/task, %d threads", count + 1);
	report(text, sample_median(&listing), "us");
	report("  its count of links, less 2", (double)links() - 2, "threads");
	report("  reading that", sample_median(&linking), "us");
}

/* Threads that are older than those which stay end while the list is read. */
static void churn(void)
{
	static pthread_t victims[VICTIMS], staying[STAYING];
	static int numbers[VICTIMS];
	int listings = 0, missed = 0, worst = 0, listed;

	for (int round = 0; round < ROUNDS; round++) {
		atomic_store(&arrived, 0);
		atomic_store(&ending, 0);
		for (int i = 0; i < VICTIMS; i++) {
			numbers[i] = i;
			if (pthread_create(&victims[i], NULL, victim, &numbers[i]))
				exit(1);
		}
		for (int i = 0; i < STAYING; i++)
			if (pthread_create(&staying[i], NULL, waiter, &tids[i]))
				exit(1);
		while (atomic_load(&arrived) < VICTIMS + STAYING)
			usleep(100);
		while (atomic_fetch_add(&ending, 1) < VICTIMS)
			for (int i = 0; i < 10; i++) {
				int lost = STAYING - list(STAYING, &listed);

				listings++;
				missed += lost > 0;
				worst = lost > worst ? lost : worst;
			}
		pthread_mutex_unlock(&hold);
		for (int i = 0; i < VICTIMS; i++)
			pthread_join(victims[i], NULL);
		for (int i = 0; i < STAYING; i++)
			pthread_join(staying[i], NULL);
		pthread_mutex_lock(&hold);
	}
	report("listings while older threads end", listings, "");
	report("  of these missed a thread that was there all the time", missed, "");
	report("  the worst missed, of 32", worst, "threads");
}

/* A thread that has just ended; one that blocks a signal. */
static void *blocker(void *slot)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	return waiter(slot);
}

static void ended(void)
{
	pthread_t thread;
	atomic_int tid = 0;
	char path[64], line[256];
	FILE *status;

	atomic_store(&arrived, 0);
	if (pthread_create(&thread, NULL, blocker, &tid))
		exit(1);
	while (!atomic_load(&arrived))
		usleep(100);
	snprintf(path, sizeof(path), "/proc/self/task/%d/status", atomic_load(&tid));
	status = fopen(path, "r");
	while (status && fgets(line, sizeof(line), status)) {
		line[strcspn(line, "\n")] = 0;
		if (!strncmp(line, "SigBlk:", 7))
			report_text("a thread that blocks all signals, its SigBlk", line + 8);
	}
	if (status)
		fclose(status);
	pthread_mutex_unlock(&hold);
	pthread_join(thread, NULL);
	report_result("tgkill to a thread that has ended",
		      syscall(SYS_tgkill, getpid(), atomic_load(&tid), SIGWINCH));
}

int main(void)
{
	static pthread_t threads[THREADS_MOST];
	static const int counts[] = {1, 64, 512};
	pthread_attr_t attributes;
	int made = 0;

	report_machine();
	pthread_mutex_lock(&hold);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 64 * KIB);
	for (size_t i = 0; i < 3; i++) {
		for (; made < counts[i]; made++)
			if (pthread_create(&threads[made], &attributes, waiter, &tids[made]))
				return 1;
		while (atomic_load(&arrived) < made)
			usleep(100);
		costs(made);
	}
	pthread_mutex_unlock(&hold);
	for (int i = 0; i < made; i++)
		pthread_join(threads[i], NULL);
	pthread_mutex_lock(&hold);
	churn();
	ended();
	return 0;
}
