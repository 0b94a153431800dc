/* futex.c - the lock's slow path, and the control page's bell that another process rings.
 */
#include "measure.h"

#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

static long futex(atomic_uint *word, int operation, unsigned int value)
{
	return syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

struct bell {
	atomic_uint asked, answered;
};

static void answer(struct bell *bell, unsigned int rounds, int shared)
{
	for (unsigned int round = 0; round < rounds; round++) {
		while (atomic_load(&bell->asked) == round)
			futex(&bell->asked, FUTEX_WAIT | shared, round);
		atomic_store(&bell->answered, round + 1);
		futex(&bell->answered, FUTEX_WAKE | shared, 1);
	}
}

static void *answer_thread(void *bell)
{
	answer(bell, 200, FUTEX_PRIVATE_FLAG);
	return NULL;
}

static double ask(struct bell *bell, int shared)
{
	struct samples samples = {0};

	for (unsigned int round = 0; round < 200; round++) {
		double begin = now_us();

		atomic_store(&bell->asked, round + 1);
		futex(&bell->asked, FUTEX_WAKE | shared, 1);
		while (atomic_load(&bell->answered) == round)
			futex(&bell->answered, FUTEX_WAIT | shared, round);
		sample_add(&samples, now_us() - begin);
	}
	return sample_median(&samples);
}

int main(void)
{
	struct bell inside = {0}, *shared;
	struct samples idle = {0};
	pthread_t thread;
	pid_t child;
	int fd = memfd_create("bell", MFD_CLOEXEC);

	report_machine();
	for (int i = 0; i < 200; i++) {
		double begin = now_us();

		futex(&inside.asked, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
		sample_add(&idle, now_us() - begin);
	}
	report("FUTEX_WAKE with nobody waiting", sample_median(&idle), "us");
	if (pthread_create(&thread, NULL, answer_thread, &inside))
		return 1;
	report("there and back between two threads", ask(&inside, FUTEX_PRIVATE_FLAG), "us");
	pthread_join(thread, NULL);

	if (fd < 0 || ftruncate(fd, 4096))
		return 1;
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	child = fork();
	if (child == 0) {
		/* by a mapping of its own, as an observer would have */
		struct bell *theirs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		answer(theirs, 200, 0);
		_exit(0);
	}
	report("there and back between two processes, by two mappings of a memfd", ask(shared, 0), "us");
	waitpid(child, NULL, 0);
	return 0;
}
