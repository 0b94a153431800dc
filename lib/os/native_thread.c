/* native_thread.c - see native_thread.h. */
#include "os/native_thread.h"

#include "base/bits.h"
#include "os/loader.h"
#include "os/sys.h"
#include "os/vm.h"

#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STACK_BYTES ((size_t)64 << 10)
#define TLS_MARGIN ((size_t)8 << 10) /* neighbours of the variables that tls_reach looks at */
#define TCB_BYTES ((size_t)8 << 10)  /* glibc's struct pthread is some 2,300 bytes */

/* gate: this thread is made by clone, and the C library does not know of it (native_thread.h) */
#if defined(__x86_64__) && !GY_TSAN && !GY_ASAN
#define GY_NATIVE_CLONE 1
#else
#define GY_NATIVE_CLONE 0
#endif

/* What a thread of ours needs, from its start to the next that takes the slot. */
struct slot {
	uint32_t tid; /* NATIVE-4 [atomic: acquire, release]; CLAIMED while it starts */
	void (*run)(void *argument);
	void *argument;
	char *memory; /* stack, thread-local storage, control block; kept for the next */
};

#define SLOTS 80u /* 64 marking workers, the background thread, and some that are ending */
#define CLAIMED UINT32_MAX

static struct slot slots[SLOTS];
static uint32_t slots_used; /* [atomic: relaxed] the slots behind were never taken */

static struct slot *slot_claim(void)
{
	for (uint32_t i = 0; i < SLOTS; i++) {
		uint32_t used = READ_RELAXED(slots_used), free_slot = 0;

		if (!__atomic_compare_exchange_n(&slots[i].tid, &free_slot, CLAIMED, false,
						 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			continue;
		while (used <= i &&
		       !__atomic_compare_exchange_n(&slots_used, &used, i + 1, true,
						    __ATOMIC_RELEASE, __ATOMIC_RELAXED))
			;
		return &slots[i];
	}
	return NULL;
}

bool gy_native_thread_is(pid_t tid)
{
	uint32_t used = __atomic_load_n(&slots_used, __ATOMIC_ACQUIRE);

	if (tid <= 0)
		return false;
	for (uint32_t i = 0; i < used; i++)
		if (__atomic_load_n(&slots[i].tid, __ATOMIC_ACQUIRE) == (uint32_t)tid)
			return true;
	return false;
}

/* A process ends when its last thread does: the C library counts threads, and the one that brings
 * the count to 0 calls exit(0). This thread never ends, so it must not be counted, or a program
 * whose main thread leaves by pthread_exit, and a child forked by any other thread, would live for
 * ever. The count is the C library's own (glibc 2.34 and later export it to its debugger library);
 * where it cannot be found, it is left alone. */
static uint32_t *thread_count(void)
{
	return gy_loader_symbol ? gy_loader_symbol(NULL, "__nptl_nthreads") : NULL;
}

static void *thread_main(void *argument)
{
	struct slot *slot = argument;
	uint32_t *count = thread_count();

	__atomic_store_n(&slot->tid, (uint32_t)gy_sys_gettid(), __ATOMIC_RELEASE);
	pthread_setname_np(pthread_self(), "gyre");
	if (count && __atomic_fetch_sub(count, 1, __ATOMIC_RELAXED) == 1)
		exit(0); /* all the others ended meanwhile */
	slot->run(slot->argument);
	if (count)
		__atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->tid, 0, __ATOMIC_RELEASE);
	return NULL;
}

/* By the C library: where we cannot make a thread ourselves. */
static int start_pthread(struct slot *slot)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int error;

	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	/* Where static TLS is large the least is not enough: then the default serves. */
	pthread_attr_setstacksize(&attributes, MAX(STACK_BYTES, (size_t)PTHREAD_STACK_MIN * 2));
	error = pthread_create(&thread, &attributes, thread_main, slot);
	if (error == EINVAL) {
		pthread_attr_setstacksize(&attributes, (size_t)1 << 20);
		error = pthread_create(&thread, &attributes, thread_main, slot);
	}
	pthread_attr_destroy(&attributes);
	return -error;
}

#if GY_NATIVE_CLONE
static __thread GY_TLS_INITIAL_EXEC char own_tls_mark;

static uintptr_t own_tls(void)
{
	return (uintptr_t)&own_tls_mark;
}

static void clone_main(struct slot *slot)
{
	prctl(PR_SET_NAME, "gyre");
	slot->run(slot->argument);
}

/* How far below the thread pointer the thread-local variables lie that this thread may touch: the
 * C library's errno and our own. */
static size_t tls_reach(uintptr_t thread_pointer)
{
	size_t reach = MAX(thread_pointer - (uintptr_t)&errno, thread_pointer - own_tls());

	return gy_round_up(reach + TLS_MARGIN, GY_KERNEL_PAGE_BYTES);
}

/* NATIVE-1. The memory is kept for the slot's next thread, also in a forked child. */
static bool slot_prepare(struct slot *slot, uintptr_t self, uintptr_t **tcb)
{
	static size_t known_reach; /* [atomic: relaxed] the same for every thread */
	size_t reach = READ_RELAXED(known_reach);
	void *mapped;

	if (!reach) {
		reach = tls_reach(self);
		WRITE_RELAXED(known_reach, reach);
	}
	if (!slot->memory) {
		if (gy_vm_map(&mapped, STACK_BYTES + reach + TCB_BYTES))
			return false;
		slot->memory = mapped;
		gy_sys_mprotect(mapped, GY_KERNEL_PAGE_BYTES, PROT_NONE); /* guard */
	}
	memset(slot->memory + STACK_BYTES, 0, reach + TCB_BYTES);
	*tcb = (uintptr_t *)(void *)(slot->memory + STACK_BYTES + reach);
	(*tcb)[0] = (*tcb)[2] = (uintptr_t)*tcb; /* what %fs:0 and %fs:16 are asked for */
	return true;
}

/* NATIVE-4: the kernel writes the thread's id to slot->tid before it runs, 0 after it has gone. */
static int start_clone(struct slot *slot)
{
	const unsigned long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND |
				    CLONE_THREAD | CLONE_SYSVSEM | CLONE_SETTLS |
				    CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID;
	uintptr_t self, *tcb, *stack;
	register uint32_t *cleared __asm__("r10");
	register uintptr_t tls __asm__("r8");
	long result;

	__asm__("movq %%fs:0, %0" : "=r"(self));
	if (!slot_prepare(slot, self, &tcb))
		return -EAGAIN;
	stack = (uintptr_t *)(void *)(slot->memory + STACK_BYTES - 64);
	stack[-1] = (uintptr_t)slot;
	/* Last before the system call: a function call would take these registers. */
	cleared = &slot->tid;
	tls = (uintptr_t)tcb;
	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 1f\n\t"
			 "xorl %%ebp, %%ebp\n\t"
			 "popq %%rdi\n\t"
			 "call *%[main]\n\t"
			 "movl %[exit], %%eax\n\t"
			 "xorl %%edi, %%edi\n\t"
			 "syscall\n\t"
			 "hlt\n"
			 "1:"
			 : "=a"(result)
			 : "0"(SYS_clone), "D"(flags), "S"(stack - 1), "d"(&slot->tid),
			   "r"(cleared), "r"(tls), [main] "b"(clone_main), [exit] "i"(SYS_exit)
			 : "rcx", "r11", "memory");
	return result < 0 ? (int)result : 0;
}
#else
static int start_clone(struct slot *slot)
{
	(void)slot;
	return -ENOSYS;
}
#endif

void gy_native_thread_fork_child(void)
{
	for (uint32_t i = 0; i < SLOTS; i++)
		slots[i].tid = 0; /* the parent's threads are not here */
}

int gy_native_thread_start_arg(void (*run)(void *argument), void *argument)
{
	int error = gy_sys_fault(GY_SYS_thread_create);
	uint64_t signals;
	struct slot *slot;

	if (error)
		return error;
	slot = slot_claim();
	if (!slot)
		return -EAGAIN;
	slot->run = run;
	slot->argument = argument;
	signals = gy_sys_signals_block(0);
	error = GY_NATIVE_CLONE ? start_clone(slot) : start_pthread(slot);
	gy_sys_signals_restore(signals);
	if (error)
		__atomic_store_n(&slot->tid, 0, __ATOMIC_RELEASE);
	return error;
}

static void run_plain(void *run)
{
	(*(void (**)(void)) & run)();
}

int gy_native_thread_start(void (*run)(void))
{
	void *argument;

	*(void (**)(void)) & argument = run;
	return gy_native_thread_start_arg(run_plain, argument);
}

/* The effective id, second number behind `key`. */
static bool id_is(const char *status, const char *key, unsigned long id)
{
	const char *at = strstr(status, key);
	unsigned long value = 0;

	if (!at)
		return true;
	at += strlen(key);
	at += strspn(at, "\t ");
	at += strspn(at, "0123456789");
	at += strspn(at, "\t ");
	for (; *at >= '0' && *at <= '9'; at++)
		value = value * 10 + (unsigned long)(*at - '0');
	return value == id;
}

bool gy_native_thread_has_process_ids(void)
{
	char status[1536];

	if (!GY_NATIVE_CLONE || gy_sys_read_file("/proc/self/status", status, sizeof(status)) <= 0)
		return true;
	return id_is(status, "\nUid:", (unsigned long)syscall(SYS_geteuid)) &&
	       id_is(status, "\nGid:", (unsigned long)syscall(SYS_getegid));
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
