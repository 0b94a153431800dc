/* native_thread.c - see native_thread.h. */
#include "os/native_thread.h"

#include "os/sys.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>

#define STACK_BYTES ((size_t)64 << 10)

/* A process ends when its last thread does: the C library counts threads, and the one that brings
 * the count to 0 calls exit(0). This thread never ends, so it must not be counted, or a program
 * whose main thread leaves by pthread_exit, and a child forked by any other thread, would live for
 * ever. The count is the C library's own (glibc 2.34 and later export it to its debugger library);
 * where it cannot be found, it is left alone. */
static uint32_t *thread_count(void)
{
	return dlsym(RTLD_DEFAULT, "__nptl_nthreads");
}

static void *thread_main(void *run)
{
	uint32_t *count = thread_count();

	pthread_setname_np(pthread_self(), "gyre");
	if (count && __atomic_fetch_sub(count, 1, __ATOMIC_RELAXED) == 1)
		exit(0); /* all the others ended meanwhile */
	(*(void (**)(void))&run)();
	if (count)
		__atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
	return NULL;
}

int gy_native_thread_start(void (*run)(void))
{
	sigset_t all, before;
	pthread_attr_t attributes;
	pthread_t thread;
	void *argument;
	int error = gy_sys_fault(GY_SYS_thread_create);

	if (error)
		return error;
	*(void (**)(void))&argument = run;
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	/* Where static TLS is large the least is not enough: then the default serves. */
	pthread_attr_setstacksize(&attributes, MAX(STACK_BYTES, (size_t)PTHREAD_STACK_MIN * 2));
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&thread, &attributes, thread_main, argument);
	if (error == EINVAL) {
		pthread_attr_setstacksize(&attributes, (size_t)1 << 20);
		error = pthread_create(&thread, &attributes, thread_main, argument);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return -error;
}

bool gy_called_from_loader(uintptr_t caller_pc)
{
	static uintptr_t end; /* [atomic: relaxed] of its executable segments; 1: there is none */
	uintptr_t base = getauxval(AT_BASE), last = READ_RELAXED(end);

	if (!base)
		return false;
	if (!last) {
		const ElfW(Ehdr) *header = (const ElfW(Ehdr) *)base;
		const ElfW(Phdr) *segment = (const ElfW(Phdr) *)(base + header->e_phoff);

		last = 1;
		for (unsigned i = 0; i < header->e_phnum; i++)
			if (segment[i].p_type == PT_LOAD && segment[i].p_flags & PF_X)
				last = MAX(last, base + segment[i].p_vaddr + segment[i].p_memsz);
		WRITE_RELAXED(end, last);
	}
	return caller_pc >= base && caller_pc < last;
}
