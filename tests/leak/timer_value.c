/* timer_value.c - a block whose only pointer is the value of a POSIX timer. */
/* truth: none */
#include "corpus.h"

#include <signal.h>
#include <time.h>

static timer_t timer;

static NOINLINE void fill(void)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};

	event.sigev_value.sival_ptr = made(64);
	if (timer_create(CLOCK_MONOTONIC, &event, &timer))
		_exit(3);
}

int main(void)
{
	fill();
	return stay();
}
