/* oom_page.c - shared memory of a process that was killed, read by one who held its file.
 *
 * A child writes a counter into a memfd without a pause, under a sequence number that is odd while
 * it writes, and is killed by SIGKILL at a random moment. The parent, which opened the file through
 * /proc before, reads it afterwards.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 200

struct page {
	volatile uint32_t sequence, spare;
	volatile uint64_t a, b;
};

static void child(int file)
{
	struct page *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);

	for (;;) {
		page->sequence++;
		page->a++;
		page->b++;
		page->sequence++;
	}
}

int main(void)
{
	int readable = 0, torn = 0, wrong = 0;
	char path[64];

	for (int round = 0; round < ROUNDS; round++) {
		int file = memfd_create("page", MFD_CLOEXEC), held;
		struct page page = {0};
		pid_t pid;

		if (file < 0 || ftruncate(file, 4096))
			return 1;
		pid = fork();
		if (!pid)
			child(file);
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, file);
		held = open(path, O_RDONLY | O_CLOEXEC);
		close(file);
		while (pread(held, &page, sizeof(page), 0) == (ssize_t)sizeof(page) && !page.a)
			usleep(1000); /* it has not begun */
		page.a = 0;
		usleep((useconds_t)(5000 + rand() % 2000));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		readable += pread(held, &page, sizeof(page), 0) == (ssize_t)sizeof(page) && page.a;
		torn += page.sequence % 2 == 1;
		wrong += page.sequence % 2 == 0 && page.a != page.b;
		close(held);
	}
	printf("killed %d times: %d pages read afterwards, %d amid a write and known as such, %d "
	       "wrong\n",
	       ROUNDS, readable, torn, wrong);
	return 0;
}
