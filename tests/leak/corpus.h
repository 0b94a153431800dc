/* corpus.h - what the programs of this folder share: each loses known blocks, or none.
 *
 * A comment says what a scan must find:
 *
 *	truth: lost blocks=N bytes=M [indirect=K]     or     truth: none
 *	scan: words to be added to `gyre leak scan`
 *	limit: what no conservative scan can see, where the truth is not what a person would say
 *
 * Bytes are those of blocks: sizes are chosen so that a block is as large as the request. A program
 * sets its state up, says `ready PID`, and then sleeps, or goes on with what it does, until its
 * input ends. So that nothing but what is meant holds a block, work is done in functions of their
 * own, and what they leave on the stack is wiped.
 */
#ifndef GYRE_TEST_CORPUS_H
#define GYRE_TEST_CORPUS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define KEPT __attribute__((used)) /* a variable that is written to, though nobody reads it */

/* The compiler must believe that this pointer matters. */
#define ESCAPE(pointer) __asm__ volatile("" : : "r"(pointer) : "memory")

/* What is hidden by this is no address. */
#define HIDE(pointer) (~(uintptr_t)(pointer))
#define SHOW(hidden) ((void *)~(hidden))

static NOINLINE __attribute__((unused)) void wipe_stack(void)
{
	volatile char area[32768];

	for (size_t i = 0; i < sizeof(area); i++)
		area[i] = 0;
}

static __attribute__((unused)) void *made(size_t bytes)
{
	void *block = malloc(bytes);

	if (!block)
		_exit(3);
	memset(block, 0x11, bytes);
	ESCAPE(block);
	return block;
}

static __attribute__((unused)) void say_ready(void)
{
	wipe_stack();
	printf("ready %d\n", (int)getpid());
	fflush(stdout);
	wipe_stack();
}

/* Sleeps until the input ends. */
static __attribute__((unused)) void sleep_until_told(void)
{
	char byte;

	while (read(0, &byte, 1) > 0)
		;
}

static __attribute__((unused)) int stay(void)
{
	say_ready();
	sleep_until_told();
	return 0;
}

#endif
