/* restartable.c - a test of a flag and a store as one step, as far as a stop can see.
 *
 * One thread does over and over: if the flag is down, store. Another raises the flag, interrupts it by a
 * signal, and from the signal's delivery on looks whether a store still comes: a stale one, by a test that
 * was made before. Three forms of the sequence, with a delay between test and store that widens the
 * window; then the cost of each without the delay.
 */
#include "measure.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/rseq.h>
#include <ucontext.h>

enum { FLIPS = 1000, DELAY = 2000, STORES = 4000000, TIMES = 15 };
enum form { PLAIN, FIXED, RSEQ };

static volatile uint32_t flag;
static volatile uint64_t slot;
static volatile long delay;
static volatile uint64_t restarts, stores;
static atomic_int tid, delivered, stop;
static enum form form;

extern const char fixed_begin[], fixed_end[];

__attribute__((noinline, noclone)) static void store_plain(uint64_t value)
{
	__asm__ volatile("	cmpl $0, %[flag]\n"
			 "	jnz 3f\n"
			 "	movq %[delay], %%rcx\n"
			 "2:	decq %%rcx\n"
			 "	jns 2b\n"
			 "	movq %[value], %[slot]\n"
			 "3:\n"
			 : [slot] "=m"(slot)
			 : [flag] "m"(flag), [delay] "m"(delay), [value] "r"(value)
			 : "rcx", "cc", "memory");
}

__attribute__((noinline, noclone)) static void store_fixed(uint64_t value)
{
	__asm__ volatile(".globl fixed_begin, fixed_end\n"
			 "fixed_begin:\n"
			 "	cmpl $0, %[flag]\n"
			 "	jnz 3f\n"
			 "	movq %[delay], %%rcx\n"
			 "2:	decq %%rcx\n"
			 "	jns 2b\n"
			 "	movq %[value], %[slot]\n"
			 "fixed_end:\n"
			 "3:\n"
			 : [slot] "=m"(slot)
			 : [flag] "m"(flag), [delay] "m"(delay), [value] "r"(value)
			 : "rcx", "cc", "memory");
}

__attribute__((noinline, noclone)) static void store_rseq(uint64_t value)
{
	__asm__ volatile(".pushsection __rseq_cs, \"aw\"\n"
			 "	.balign 32\n"
			 "1:	.long 0, 0\n"
			 "	.quad 4f, 5f - 4f, 6f\n"
			 ".popsection\n"
			 "7:	leaq 1b(%%rip), %%rax\n"
			 "	movq %%rax, %%fs:8(%[rseq])\n"
			 "4:	cmpl $0, %[flag]\n"
			 "	jnz 3f\n"
			 "	movq %[delay], %%rcx\n"
			 "2:	decq %%rcx\n"
			 "	jns 2b\n"
			 "	movq %[value], %[slot]\n"
			 "5:\n"
			 ".pushsection __rseq_failure, \"ax\"\n"
			 "	.byte 0x0f, 0xb9, 0x3d\n"
			 "	.long 0x53053053\n"
			 "6:	incq %[restarts]\n"
			 "	jmp 7b\n"
			 ".popsection\n"
			 "3:\n"
			 : [slot] "=m"(slot), [restarts] "+m"(restarts)
			 : [flag] "m"(flag), [delay] "m"(delay), [value] "r"(value),
			   [rseq] "r"(__rseq_offset)
			 : "rax", "rcx", "cc", "memory");
}

static void store(uint64_t value)
{
	switch (form) {
	case PLAIN:
		store_plain(value);
		break;
	case FIXED:
		store_fixed(value);
		break;
	case RSEQ:
		store_rseq(value);
		break;
	}
}

static void handler(int number, siginfo_t *info, void *context)
{
	greg_t *pc = &((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];

	(void)number;
	(void)info;
	if ((uintptr_t)*pc >= (uintptr_t)fixed_begin && (uintptr_t)*pc < (uintptr_t)fixed_end) {
		*pc = (greg_t)(uintptr_t)fixed_begin;
		restarts++;
	}
	atomic_store(&delivered, 1);
}

static void stay_on(size_t cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

static void *mutator(void *unused)
{
	stay_on(1);
	atomic_store(&tid, (int)syscall(SYS_gettid));
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		store(1);
		stores++;
	}
	return unused;
}

static void flips(enum form which, const char *name)
{
	pthread_t thread;
	int stale = 0;
	char text[96];

	form = which;
	restarts = stores = 0;
	flag = 0;
	delay = DELAY;
	atomic_store(&stop, 0);
	atomic_store(&tid, 0);
	if (pthread_create(&thread, NULL, mutator, NULL))
		exit(1);
	while (!atomic_load(&tid) || !stores)
		usleep(100);
	for (int i = 0; i < FLIPS; i++) {
		double end;

		usleep((useconds_t)(20 + i % 37));
		atomic_store(&delivered, 0);
		flag = 1;
		syscall(SYS_tgkill, getpid(), atomic_load(&tid), SIGUSR1);
		while (!atomic_load(&delivered))
			;
		slot = 0;
		for (end = now_us() + 10; now_us() < end;)
			;
		stale += slot != 0;
		flag = 0;
	}
	atomic_store(&stop, 1);
	pthread_join(thread, NULL);
	snprintf(text, sizeof(text), "%s: stale stores in %d stops", name, FLIPS);
	report(text, stale, "");
	if (which != PLAIN)
		report("  sequences begun anew", (double)restarts, "");
}

#define COST(name, statement)                                                                      \
	do {                                                                                       \
		struct samples samples = {0};                                                      \
                                                                                                   \
		for (int time = 0; time < TIMES; time++) {                                         \
			double begin = now_us();                                                   \
                                                                                                   \
			for (long i = 0; i < STORES; i++) {                                        \
				volatile uint64_t *at = &target[i & 63];                           \
				statement;                                                         \
			}                                                                          \
			sample_add(&samples, (now_us() - begin) * 1000 / STORES);                  \
		}                                                                                  \
		report(name, samples_least(&samples), "ns");                                       \
	} while (0)

static double samples_least(struct samples *samples)
{
	sample_median(samples); /* sorts */
	return samples->values[0];
}

static void costs(void)
{
	static volatile uint64_t target[64];

	flag = 0;
	COST("a store", __asm__ volatile("movq %1, %0" : "=m"(*at) : "r"(i)));
	COST("test, store", __asm__ volatile("cmpl $0, %2\n\tjnz 1f\n\tmovq %1, %0\n1:"
					     : "=m"(*at)
					     : "r"(i), "m"(flag)
					     : "cc"));
	COST("named by a no-op, test, store",
	     __asm__ volatile(".byte 0x0f, 0x1f, 0x80, 0x47, 0x79, 0x72, 0x65\n\t"
			      "cmpl $0, %2\n\tjnz 1f\n\tmovq %1, %0\n1:"
			      : "=m"(*at)
			      : "r"(i), "m"(flag)
			      : "cc"));
	COST("rseq: announce, test, store", __asm__ volatile(".pushsection __rseq_cs, \"aw\"\n"
							     "	.balign 32\n"
							     "1:	.long 0, 0\n"
							     "	.quad 4f, 5f - 4f, 6f\n"
							     ".popsection\n"
							     "7:	leaq 1b(%%rip), %%rax\n"
							     "	movq %%rax, %%fs:8(%3)\n"
							     "4:	cmpl $0, %2\n"
							     "	jnz 5f\n"
							     "	movq %1, %0\n"
							     "5:\n"
							     ".pushsection __rseq_failure, \"ax\"\n"
							     "	.byte 0x0f, 0xb9, 0x3d\n"
							     "	.long 0x53053053\n"
							     "6:	jmp 7b\n"
							     ".popsection\n"
							     : "=m"(*at)
							     : "r"(i), "m"(flag), "r"(__rseq_offset)
							     : "rax", "cc"));
}

int main(void)
{
	struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_RESTART | SA_SIGINFO};

	report_machine();
	report_text("rseq is registered by the C library", __rseq_size ? "yes" : "NO");
	if (sigaction(SIGUSR1, &action, NULL))
		return 1;
	stay_on(0);
	flips(PLAIN, "plain");
	flips(FIXED, "set back by the handler");
	if (__rseq_size)
		flips(RSEQ, "rseq, interrupted by the signal");
	costs();
	return 0;
}
