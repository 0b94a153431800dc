/* threads.c - what the threads have in hand: registers, and how far their stacks are in use.
 *
 * A thread that sleeps in epoll_wait may hold the only pointer to a block in a register that a
 * callee keeps; the kernel has saved it, and no file of /proc shows it. A signal would, and make
 * the system call fail. So nobody is signalled: whoever asks for a scan from outside brings the
 * registers of all threads, read in the kernel by a task iterator (leak_report.h), when each round
 * asks for them. Of a thread that runs these are a moment old (of its last system call or tick); a
 * pointer that it keeps in a register throughout a round was there at that moment, one that moves
 * is found in another round. A scan that was asked for from inside sees no registers but its
 * asker's, which lie on a stack; the report says how many threads that leaves.
 *
 * Where the world is stopped (GYRE_LEAK_STOP) it has the registers of all.
 *
 * TASKS-1  The part of a stack below its pointer is left out only where it is certain: the thread
 *          sleeps; pointer and upper end are in one mapping, which is the main thread's stack or
 *          has a guard right below; so nothing else can lie there. If the thread was switched in
 *          before all roots were read, that part is read after all.
 * TASKS-2  Of other threads the whole mapping is read: old values may hide a lost block.
 */
#include "leak/scan.h"

#include "heap/thread_cache.h"
#include "mutator/world.h"
#include "os/native_thread.h"
#include "os/sys.h"
#include "os/tasks.h"
#include "os/thread_state.h"

#include <limits.h>
#include <sys/auxv.h>
#include <unistd.h>

#define RED_ZONE_BYTES 128u
#define MS 1000000ull
/* Of an XSAVE area: the SSE registers, its header, and the upper halves of AVX. */
#define VECTORS_FROM 160u
#define VECTORS_BYTES (832u - VECTORS_FROM)

static void note_task(pid_t tid, void *argument)
{
	struct gy_leak_scan *scan = argument;

	if (gy_native_thread_is(tid) || scan->task_count == GY_LEAK_THREADS_MOST)
		return;
	scan->tasks[scan->task_count++] = (struct gy_leak_task){.tid = tid};
}

static struct gy_leak_task *find_task(struct gy_leak_scan *scan, pid_t tid)
{
	for (size_t i = 0; i < scan->task_count; i++)
		if (scan->tasks[i].tid == tid)
			return &scan->tasks[i];
	return NULL;
}

/* A thread that has allocated has told where its stack ends. */
static void find_stack_tops(struct gy_leak_scan *scan)
{
	struct gy_leak_task *first = find_task(scan, getpid());

	gy_lock_acquire(&gy_registry.lock);
	for (const struct gy_thread_cache *cache = gy_registry.first; cache; cache = cache->next) {
		struct gy_leak_task *task = find_task(scan, cache->tid);

		if (task)
			task->stack_top = cache->stack_top;
	}
	gy_lock_release(&gy_registry.lock);
	if (first)
		first->stack_top = (uintptr_t)getauxval(AT_RANDOM);
}

/* TASKS-1 */
static void find_dead(struct gy_leak_scan *scan, struct gy_leak_task *task)
{
	const struct gy_mapping *mapping = gy_maps_find(&scan->maps, task->sp);
	const struct gy_mapping *below = mapping - 1;

	if (!mapping || task->stack_top <= task->sp || task->stack_top > mapping->end)
		return;
	if (task->tid != getpid() &&
	    (mapping == scan->maps.mappings || below->end != mapping->start || below->readable))
		return;
	task->dead_low = mapping->start;
	task->dead_high = MAX(mapping->start, task->sp - RED_ZONE_BYTES) & ~(uintptr_t)7;
	scan->round->stacks++;
}

/* ------------------------------------------------------------------ registers from outside */

/* Asks, and waits; how many entries there are. */
static uint32_t ask_registers(struct gy_leak_scan *scan)
{
	struct gyre_leak_header *header = scan->header;
	uint64_t end_ns = gy_now_ns() + scan->request.registers_wait_ms * MS;
	uint32_t wanted = READ_RELAXED(header->registers_wanted) + 1;

	__atomic_store_n(&header->registers_wanted, wanted, __ATOMIC_RELEASE);
	gy_sys_futex_wake(&header->registers_wanted, INT_MAX, true);
	for (;;) {
		uint32_t given = __atomic_load_n(&header->registers_given, __ATOMIC_ACQUIRE);
		uint64_t now_ns = gy_now_ns();
		struct timespec nap = {0, 20 * (long)MS};

		if (given == wanted)
			return MIN(READ_RELAXED(header->register_count), GY_LEAK_THREADS_MOST);
		if (now_ns >= end_ns || !gy_leak_pace(scan, (size_t)1 << 20)) {
			scan->round->late = 1;
			return 0;
		}
		gy_sys_futex_wait(&header->registers_given, given, &nap, true);
	}
}

static void take_registers(struct gy_leak_scan *scan)
{
	const struct gyre_leak_thread *threads = gy_leak_report_threads(scan->header);
	uint32_t count = ask_registers(scan);

	for (uint32_t i = 0; i < count; i++) { /* REPORT-3 */
		struct gy_leak_task *task = find_task(scan, (pid_t)READ_RELAXED(threads[i].tid));

		if (!task)
			continue;
		task->seen = true;
		scan->place = (struct gy_leak_place){.kind = GYRE_LEAK_STEP_REGISTER,
						     .tid = task->tid};
		for (unsigned r = 0; r < GYRE_LEAK_REGISTERS_OF_THREAD; r++) {
			uintptr_t word = READ_RELAXED(threads[i].registers[r]);

			scan->place.offset = r;
			scan->words(scan, &word, 1, 0);
		}
	}
}

/* ------------------------------------------------------------------ in all */

static void take_stopped(struct gy_leak_scan *scan)
{
	for (unsigned i = 0; i < gy_world_count(); i++) {
		const struct gy_stopped_thread *thread = gy_world_thread(i);
		struct gy_leak_task *task = find_task(scan, thread->tid);

		if (!task)
			continue;
		task->seen = task->asleep = true;
		task->sp = thread->sp;
		scan->place = (struct gy_leak_place){.kind = GYRE_LEAK_STEP_REGISTER,
						     .tid = thread->tid};
		if (thread->registers)
			scan->words(scan, thread->registers, thread->register_count, 0);
		if (thread->vectors) /* a pair of pointers on its way */
			scan->words(scan,
				    (const uintptr_t *)(const void *)(thread->vectors +
								      VECTORS_FROM),
				    VECTORS_BYTES / sizeof(uintptr_t), 0);
	}
}

void gy_leak_threads(struct gy_leak_scan *scan)
{
	int fd = gy_tasks_open();

	scan->task_count = 0;
	if (fd < 0)
		return;
	gy_tasks_list(fd, note_task, scan);
	gy_sys_close(fd);
	find_stack_tops(scan);
	for (size_t i = 0; !scan->pace.stopped && i < scan->task_count; i++) {
		struct gy_leak_task *task = &scan->tasks[i];
		uint64_t sp;

		task->switches = gy_thread_switches(task->tid);
		task->asleep = task->switches && gy_thread_sleeps(task->tid, &sp);
		if (task->asleep)
			task->sp = sp;
	}
}

void gy_leak_registers(struct gy_leak_scan *scan)
{
	scan->round->threads = (uint32_t)scan->task_count;
	if (scan->pace.stopped)
		take_stopped(scan);
	else if (scan->request.flags & GYRE_LEAK_REGISTERS)
		take_registers(scan);
	for (size_t i = 0; i < scan->task_count; i++)
		scan->round->registers += scan->tasks[i].seen;
}

void gy_leak_find_dead(struct gy_leak_scan *scan)
{
	scan->round->stacks = 0;
	for (size_t i = 0; i < scan->task_count; i++)
		if (scan->tasks[i].asleep)
			find_dead(scan, &scan->tasks[i]);
}

bool gy_leak_dead_again(struct gy_leak_scan *scan)
{
	for (size_t i = 0; !scan->pace.stopped && i < scan->task_count; i++) {
		const struct gy_leak_task *task = &scan->tasks[i];

		if (task->dead_low == task->dead_high ||
		    gy_thread_switches(task->tid) == task->switches)
			continue;
		scan->place = (struct gy_leak_place){.kind = GYRE_LEAK_STEP_STACK,
						     .tid = task->tid};
		scan->round->stacks--;
		if (!gy_leak_read(scan, task->dead_low, task->dead_high, false))
			return false;
	}
	return true;
}
