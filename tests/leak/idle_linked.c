/* idle_linked.c - a small service that has gone to sleep in epoll_wait before anybody looked.
 *
 * Loses 40 blocks and sleeps until its input ends; then says whether its epoll_wait failed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static NOINLINE void come_by(unsigned blocks)
{
	void *kept[512];

	for (unsigned i = 0; i < blocks; i++)
		kept[i] = malloc(1000);
	for (unsigned i = 0; i < blocks; i++)
		free(kept[i]);
}

static NOINLINE void lose(void)
{
	for (unsigned i = 0; i < 40; i++) {
		char *block = malloc(3000);

		memset(block, 0, 3000);
		__asm__ volatile("" : : "r"(block) : "memory");
	}
}

static NOINLINE void wipe(void)
{
	volatile char area[16384];

	for (size_t i = 0; i < sizeof(area); i++)
		area[i] = 0;
}

int main(void)
{
	struct epoll_event event = {.events = EPOLLIN};
	int set = epoll_create1(0), got;

	come_by(512);
	lose();
	wipe();
	if (epoll_ctl(set, EPOLL_CTL_ADD, STDIN_FILENO, &event))
		return 1;
	printf("ready %d\n", getpid());
	fflush(stdout);
	got = epoll_wait(set, &event, 1, -1);
	printf("%s\n", got == 1 ? "woken" : strerror(errno));
	return got != 1;
}
