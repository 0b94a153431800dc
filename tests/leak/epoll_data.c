/* epoll_data.c - blocks whose only pointer is the data of an epoll entry: the kernel has it. */
/* truth: none */
#include "corpus.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

static int set;

static NOINLINE void fill(void)
{
	set = epoll_create1(0);
	for (unsigned i = 0; i < 200; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = made(128)};

		if (epoll_ctl(set, EPOLL_CTL_ADD, eventfd(0, 0), &event))
			_exit(3);
	}
}

int main(void)
{
	fill();
	return stay();
}
