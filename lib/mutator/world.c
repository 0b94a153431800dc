/* world.c - stopping every thread of the process, and letting them go.
 *
 *	1  list the threads; the world still runs                                  (os/tasks.h)
 *	2  raise the flag; membarrier; those in blocking regions count as stopped  (blocking.c)
 *	3  send every other thread the signal, then wait for all of them at once   (world_signal.c)
 *	4  count the threads: as many as are known? then nobody is missing (TASK-1)
 *	   else list again, send the signal to those that are new, go to 3
 *
 * Whoever is listed in 1 has stopped, or has ended, before 4; only a thread that was not yet
 * stopped can have started a new one, so 4 finds the last of them. What the kernel's list may miss
 * while threads come and go, the count does not.
 *
 * A thread that does not come is looked at, first by sending it the signal anew, then
 * in /proc. One that could run and does not block the signal only lacks a processor: it is waited
 * for. But there are threads that cannot come just now: with all signals blocked while they start
 * or end, and then waiting for a lock of the C library whose holder is stopped already. So a stop
 * that does not succeed within a slice of time lets everybody go on and tries again, with a longer
 * slice each time; only when gc_stop_timeout is over, it is given up, and the thread named
 * (WORLD-4). A thread named once is asked first the next time, while the world still runs: one that
 * blocks the signal for good costs each later cycle next to nothing.
 *
 * Whom /proc shows to be in no state to come is not waited for at a stop: STOP-9. One that sleeps
 * uninterruptibly (a disk; a parent of vfork) may come at any moment, or in an hour: it is waited
 * for, in short slices with long rests.
 *
 * STOP-5  Between raising and lowering the flag nothing is called that takes a lock which a stopped
 *         thread may hold; memory comes from mmap (WORLD-2).
 * STOP-6  The lock of the mutators' list is held while the flag goes up and the list is read, and
 *         is let go before the first signal: those who wait for it may have all signals blocked,
 *         and must go on.
 * STOP-7  A worker of the kernel's (io_uring) is known by its flags in /proc and remembered by its
 *         tid; before each stop those remembered are looked at anew, since tids come round.
 * STOP-9  A thread that blocks the signal, or that a debugger holds, cannot come while the world
 *         stands: whoever would wake it stands too. The try is given up as soon as it is seen, the
 *         world goes on, and is not stopped again before that thread has changed or the time is
 *         over.
 * STOP-10, STOP-11 Who gets a processor meanwhile: world_priority.c.
 */
#include "mutator/world.h"

#include "base/config.h"
#include "base/panic.h"
#include "mutator/world_stop.h"
#include "os/long_call.h"
#include "os/native_thread.h"
#include "os/sys.h"
#include "os/tasks.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000ull
#define SLICE_FIRST_NS (20 * MS)
#define SLICE_MOST_NS (160 * MS)
#define SLICE_SLEEPER_MOST_NS (40 * MS)
#define SLEEPER_RESTS 4u /* slices of rest after one in vain */
#define REST_FIRST_NS (1 * MS) /* STOP-9 */
#define REST_MOST_NS (20 * MS)
#define WAIT_FIRST_NS 300000ull /* until the first look at who is missing */
#define WAIT_MOST_NS (5 * MS)
#define LOOK_AFTER_NS (2 * MS) /* from then on also in /proc */
#define RUNNER_AFTER_NS (10 * MS) /* starting, or ending: blocks all signals for a moment */
#define SANITIZER_AFTER_NS (100 * MS)
#define KERNEL_WORKERS_MOST 64u
#define LISTINGS_MOST 1000u
#define SLEPT 1024u
#define LONG_CALLS_NS (50 * MS)
#define HURRY_AFTER_NS 100000u /* STOP-11; and for each thread that is awaited */
#define HURRY_EACH_NS 6000u
#define EARLY 8u /* the last of those awaited are awaited awake */
#define AWAKE_NS 200000u

static struct {
	struct gy_lock lock; /* held from stop to start */
	pid_t pid, self;
	int tasks_fd;
	struct gy_task_table table;
	uint32_t listing;  /* number of the last one */
	uint32_t expected; /* entries EXPECTED or UNSENT */
	uint32_t present;  /* entries that are known to exist: all but GONE and expected ones */
	bool coming;     /* one that was late when last looked at lacks but a processor */
	bool sleeps;     /* another slept uninterruptibly */
	pid_t hopeless;  /* STOP-9; 0: none */
	struct gy_world_report report;
	uint64_t begin_ns; /* when the flag went up first */
	uint32_t hurried;  /* entries that have a priority of ours: STOP-11 */
	pid_t named;      /* WORLD-4: of the last stop that was given up; 0: none */
	uint8_t slept[SLEPT]; /* STOP-8: by tid, whether it was in a system call last time */
	bool taken_told;  /* that the program has taken our signal */
	bool leader_dead; /* the main thread has ended; it stays in the list to the end */
	uint32_t kernel_workers;
	pid_t kernel_worker[KERNEL_WORKERS_MOST]; /* STOP-7 */
} world = {.lock = GY_LOCK_INIT(GY_RANK_world), .tasks_fd = -1};

int gy_world_init(void)
{
	return gy_world_signal_init();
}

/* ---- the table ---- */

static bool is_expected(enum gy_task_role role)
{
	return role == GY_TASK_EXPECTED || role == GY_TASK_UNSENT;
}

static void set_role(struct gy_task_entry *entry, enum gy_task_role role)
{
	world.expected -= is_expected(entry->role);
	world.present -= !is_expected(entry->role) && entry->role != GY_TASK_GONE;
	entry->role = role;
	world.expected += is_expected(role);
	world.present += !is_expected(role) && role != GY_TASK_GONE;
}

static struct gy_task_entry *entry_of(pid_t tid)
{
	struct gy_task_entry *entry = gy_task_table_find(&world.table, tid);

	if (!entry) {
		entry = gy_task_table_add(&world.table, tid, GY_TASK_UNSENT);
		world.expected += entry != NULL;
	}
	return entry;
}

static bool is_kernel_worker(pid_t tid)
{
	for (uint32_t i = 0; i < world.kernel_workers; i++)
		if (world.kernel_worker[i] == tid)
			return true;
	return false;
}

static bool is_exempt(pid_t tid)
{
	return tid == world.self || gy_native_thread_is(tid) || is_kernel_worker(tid);
}

static void see_task(pid_t tid, void *unused)
{
	struct gy_task_entry *entry = entry_of(tid);

	(void)unused;
	if (!entry)
		return;
	entry->seen = world.listing;
	if (entry->role == GY_TASK_GONE) /* its tid has come round */
		set_role(entry, GY_TASK_UNSENT);
	if (is_expected(entry->role) && is_exempt(tid))
		set_role(entry, GY_TASK_EXEMPT);
	else if (is_expected(entry->role) && world.leader_dead && tid == world.pid)
		set_role(entry, GY_TASK_DEAD);
}

/* Brings the table up to date; 0 or -errno. */
static int list_tasks(void)
{
	int error;

	world.listing++;
	error = gy_tasks_list(world.tasks_fd, see_task, NULL);
	if (error)
		return error;
	for (uint32_t i = 0; i < world.table.count; i++) {
		struct gy_task_entry *entry = &world.table.entries[i];

		if (entry->seen != world.listing && entry->role != GY_TASK_ARRIVED &&
		    entry->role != GY_TASK_BLOCKED && entry->role != GY_TASK_GONE)
			set_role(entry, GY_TASK_GONE);
	}
	return world.table.failed ? -ENOMEM : 0;
}

/* ---- who has stopped ---- */

#if defined(__x86_64__)
#define BLOCKED_REGISTERS 6
#else
#define BLOCKED_REGISTERS 0
#endif

/* [lock: mutators] */
static void find_blocked(void)
{
	for (struct gy_mutator *at = gy_mutators; at; at = at->next) {
		struct gy_task_entry *entry;

		if (!__atomic_load_n(&at->blocked, __ATOMIC_ACQUIRE) || at->tid == world.self)
			continue;
		/* Started since the listing; or gone, and has left its record (ATTACH-5). */
		if (!gy_task_table_find(&world.table, at->tid) &&
		    gy_sys_tgkill(world.pid, at->tid, 0) == -ESRCH)
			continue;
		entry = entry_of(at->tid);
		if (!entry)
			return;
		at->stopped = (struct gy_stopped_thread){
			.tid = at->tid,
			.blocked = true,
			.sp = at->blocked_sp,
			.fs_base = at->fs_base,
			.registers = at->blocked_registers,
			.register_count = BLOCKED_REGISTERS,
			.mutator = at,
		};
		entry->thread = &at->stopped;
		set_role(entry, GY_TASK_BLOCKED);
	}
}

/* STOP-11 */
static void hurry_missing(void)
{
	for (uint32_t i = 0; i < world.table.count; i++) {
		struct gy_task_entry *entry = &world.table.entries[i];

		if (is_expected(entry->role) && !entry->hurried)
			world.hurried += gy_task_hurry(entry);
	}
}

static void hurry_no_more(struct gy_task_entry *entry)
{
	gy_task_hurry_no_more(entry);
	world.hurried--;
	world.report.hurried++;
}

static void hurry_nobody(void)
{
	for (uint32_t i = 0; i < world.table.count && world.hurried; i++)
		if (world.table.entries[i].hurried)
			hurry_no_more(&world.table.entries[i]);
}

/* Records lie on the stacks of others, who may be instrumented. */
GY_RACY_READER static void take_arrivals(void)
{
	struct gy_stopped_thread *thread = gy_world_arrivals();

	for (; thread; thread = thread->next) {
		struct gy_task_entry *entry = entry_of(thread->tid);

		/* In a region, and yet here: by a signal of a stop that was given up. */
		if (!entry || entry->role == GY_TASK_BLOCKED)
			continue;
		entry->thread = thread;
		if (unlikely(entry->hurried))
			hurry_no_more(entry);
		world.slept[(uint32_t)thread->tid % SLEPT] = thread->in_call;
		set_role(entry, GY_TASK_ARRIVED);
	}
}

static void send_signal(struct gy_task_entry *entry)
{
	int error = gy_sys_tgkill(world.pid, entry->tid, gy_world_signal());

	if (error == -ESRCH)
		set_role(entry, GY_TASK_GONE);
	else
		set_role(entry, error ? GY_TASK_UNSENT : GY_TASK_EXPECTED);
}

/* Those who have not been sent one, and slept the last time or did not: on the list for the relay,
 * behind the `count` that are there. Those there is no room for get theirs at once. */
static uint32_t list_unsent(uint32_t count, bool slept)
{
	for (uint32_t i = 0; i < world.table.count; i++) {
		struct gy_task_entry *entry = &world.table.entries[i];

		if (entry->role != GY_TASK_UNSENT ||
		    world.slept[(uint32_t)entry->tid % SLEPT] != slept)
			continue;
		if (count == GY_RELAY_MOST) {
			send_signal(entry);
			continue;
		}
		set_role(entry, GY_TASK_EXPECTED);
		WRITE_RELAXED(gy_world_relay.tids[count++], entry->tid);
	}
	return count;
}

/* To those who have not been sent one, with the help of those who have (STOP-8). */
static void send_signals(void)
{
	uint32_t count;
	pid_t tid;

	__atomic_store_n(&gy_world_relay.count, 0, __ATOMIC_SEQ_CST);
	count = list_unsent(0, false);
	count = list_unsent(count, true);
	__atomic_store_n(&gy_world_relay.next, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&gy_world_relay.count, count, __ATOMIC_RELEASE);
	while ((tid = gy_world_relay_next()))
		send_signal(gy_task_table_find(&world.table, tid));
}

/* ThreadSanitizer has a thread of its own, which blocks everything; so does, for a moment, one that
 * starts, and one that has come as far as our handler, where it may have to wait long for a
 * processor: but these do not sleep. */
static bool is_sanitizers(const struct gy_task *task, uint64_t late_ns)
{
	const uint64_t never = 0xffffffff80000000u | 1u << (SIGKILL - 1) | 1u << (SIGSTOP - 1);

	return GY_TSAN && late_ns >= SANITIZER_AFTER_NS && !~(task->blocked_signals | never);
}

static void exempt(struct gy_task_entry *entry)
{
	set_role(entry, GY_TASK_EXEMPT);
	if (world.kernel_workers < KERNEL_WORKERS_MOST)
		world.kernel_worker[world.kernel_workers++] = entry->tid;
}

static bool blocks_signal(const struct gy_task *task)
{
	return task->blocked_signals >> (gy_world_signal() - 1) & 1;
}

/* STOP-9 */
static bool is_hopeless(const struct gy_task *task)
{
	return blocks_signal(task) || task->state == 't' || task->state == 'T';
}

/* A thread that is late: does it exist, will it ever come? */
static void look_at(uint32_t index, uint64_t late_ns)
{
	struct gy_task_entry *entry = &world.table.entries[index];
	struct gy_task task;
	int error;

	if (is_exempt(entry->tid)) {
		set_role(entry, GY_TASK_EXEMPT);
		return;
	}
	/* Sent anew, lest whoever was to send it could not. */
	send_signal(entry);
	if (entry->role == GY_TASK_GONE || late_ns < LOOK_AFTER_NS)
		return;
	error = gy_task_read(entry->tid, &task);
	take_arrivals(); /* in the handler it looks as if it blocked the signal */
	entry = &world.table.entries[index];
	if (!is_expected(entry->role))
		return;
	if (error == -ESRCH)
		set_role(entry, GY_TASK_GONE);
	if (error)
		return;
	if (task.state == 'Z' || task.state == 'X') {
		set_role(entry, GY_TASK_DEAD);
		world.leader_dead |= task.state == 'Z' && entry->tid == world.pid;
	} else if (task.kernel || (task.state == 'S' && is_sanitizers(&task, late_ns))) {
		exempt(entry);
	} else if (is_hopeless(&task) && !GY_TSAN &&
		   (task.state != 'R' || late_ns >= RUNNER_AFTER_NS)) {
		world.hopeless = entry->tid;
	} else {
		world.coming |= task.state == 'R' && !blocks_signal(&task);
		world.sleeps |= task.state == 'D';
	}
}

static void look_at_missing(uint64_t late_ns)
{
	send_signals();
	world.coming = false;
	for (uint32_t i = 0; i < world.table.count && world.expected; i++)
		if (is_expected(world.table.entries[i].role))
			look_at(i, late_ns);
}

/* To wake somebody on a processor that has gone to sleep takes as long as ten threads take to
 * stop. */
static bool await_awake(void)
{
	uint64_t end_ns = gy_now_ns() + AWAKE_NS;

	do {
		sched_yield();
		take_arrivals();
	} while (world.expected && gy_now_ns() < end_ns);
	return !world.expected;
}

/* Until all who are expected have come; false: `until_ns` is past, and those who are missing do
 * not just wait for a processor, or `end_ns` is. */
static bool wait_arrivals(uint64_t until_ns, uint64_t end_ns)
{
	bool hurry = gy_stopper_may_hurry(), hurried = !hurry;
	uint64_t pause_ns = hurry ? HURRY_AFTER_NS + (uint64_t)HURRY_EACH_NS * world.expected
				  : WAIT_FIRST_NS;
	uint32_t early = gy_stopper_is_preferred() ? 0 : EARLY;
	uint64_t begin_ns = 0;

	for (;;) {
		/* STOP-3: read before the records are. */
		uint32_t seen = __atomic_load_n(&gy_world_flag.arrived, __ATOMIC_SEQ_CST);
		struct timespec timeout = {0, (long)pause_ns};
		uint64_t now_ns;

		take_arrivals();
		if (!world.expected)
			return true;
		if (world.expected <= early) {
			early = 0;
			if (await_awake())
				return true;
			continue;
		}
		__atomic_store_n(&gy_world_flag.awaited, seen + world.expected - early,
				 __ATOMIC_SEQ_CST);
		if (gy_sys_futex_wait(&gy_world_flag.arrived, seen, &timeout, false) != -ETIMEDOUT)
			continue;
		now_ns = gy_now_ns();
		begin_ns = begin_ns ? begin_ns : now_ns;
		take_arrivals();
		if (!hurried) {
			hurried = true;
			pause_ns = WAIT_FIRST_NS;
			hurry_missing();
			continue;
		}
		if (world.expected)
			look_at_missing(now_ns - begin_ns);
		if (now_ns >= (world.coming ? end_ns : until_ns) || world.hopeless)
			return !world.expected;
		pause_ns = MIN(pause_ns * 2, WAIT_MOST_NS);
	}
}

/* ---- one try ---- */

/* Have all threads been found? Lists those that have not. */
static int find_new(bool *complete)
{
	uint32_t before = world.table.count;
	int error;

	*complete = gy_tasks_count(world.tasks_fd) == (long)world.present;
	if (*complete)
		return 0;
	error = list_tasks();
	/* Nobody new, and nobody unaccounted for: then somebody has just ended. */
	*complete = !error && world.table.count == before && !world.expected &&
		    gy_tasks_count(world.tasks_fd) <= (long)world.present;
	return error;
}

static void rest(uint64_t ns)
{
	struct timespec time = {0, (long)ns};
	uint32_t nobody = 0;

	gy_sys_futex_wait(&nobody, 0, &time, false);
}

static int stop_try(uint64_t until_ns, uint64_t end_ns)
{
	bool complete = false, ordered;
	int error;

	gy_task_table_clear(&world.table);
	world.expected = world.present = 0;
	world.hopeless = 0;
	world.sleeps = false;
	error = list_tasks();
	if (error)
		return error;
	gy_stopper_keep_clear_of_tick();
	gy_stopper_prefer();
	gy_lock_acquire(&gy_mutators_lock); /* STOP-6 */
	if (!world.begin_ns)
		world.begin_ns = gy_now_ns();
	ordered = gy_world_flag_raise();
	if (ordered)
		find_blocked();
	gy_lock_release(&gy_mutators_lock);
	for (unsigned i = 0; !complete && !error && i < LISTINGS_MOST; i++) {
		send_signals();
		if (!wait_arrivals(until_ns, end_ns))
			return -EAGAIN;
		error = find_new(&complete);
	}
	if (error || world.table.failed)
		return error ? error : -ENOMEM;
	return complete ? 0 : -EAGAIN;
}

static int stop_once(uint64_t until_ns, uint64_t end_ns)
{
	int error = stop_try(until_ns, end_ns);

	hurry_nobody();
	return error;
}

/* ---- what is wrong ---- */

static void add_signal(struct gy_text *text)
{
	const char *name = sigabbrev_np(gy_world_signal());

	gy_text_add(text, "signal ");
	gy_text_add_u64(text, (uint64_t)gy_world_signal());
	if (name) {
		gy_text_add(text, " (SIG");
		gy_text_add(text, name);
		gy_text_add(text, ")");
	}
}

/* "gyre: PID COMM: thread TID (name) blocks signal 30 (SIGPWR): collection given up" */
static void name_thread(pid_t tid, const struct gy_task *task)
{
	char buffer[256];
	struct gy_text text = GY_TEXT(buffer);

	gy_message_begin(&text);
	gy_text_add(&text, "thread ");
	gy_text_add_u64(&text, (uint64_t)tid);
	gy_text_add(&text, " (");
	gy_text_add(&text, task->name);
	if (blocks_signal(task)) {
		gy_text_add(&text, ") blocks ");
		add_signal(&text);
	} else if (task->state == 'D') {
		gy_text_add(&text, ") sleeps uninterruptibly");
	} else if (task->state == 't' || task->state == 'T') {
		gy_text_add(&text, ") is held by a debugger");
	} else {
		gy_text_add(&text, ") does not answer ");
		add_signal(&text);
	}
	gy_text_add(&text, ": collection given up");
	gy_message_write(&text);
}

/* After the last try: names the first thread that is missing, unless it was the last time too. */
static void name_missing(void)
{
	for (uint32_t i = 0; i < world.table.count; i++) {
		const struct gy_task_entry *entry = &world.table.entries[i];
		struct gy_task task;

		if (!is_expected(entry->role) || gy_task_read(entry->tid, &task))
			continue;
		if (entry->tid != world.named)
			name_thread(entry->tid, &task);
		world.named = entry->tid;
		return;
	}
}

static bool is_in_region(pid_t tid)
{
	bool blocked = false;

	gy_lock_acquire(&gy_mutators_lock);
	for (struct gy_mutator *at = gy_mutators; at; at = at->next)
		blocked |= at->tid == tid && READ_RELAXED(at->blocked);
	gy_lock_release(&gy_mutators_lock);
	return blocked;
}

/* Does the thread that was named the last time still block the signal? */
static bool is_still_blocked(void)
{
	struct gy_task task;

	if (!world.named)
		return false;
	if (!gy_native_thread_is(world.named) && !gy_task_read(world.named, &task) &&
	    blocks_signal(&task) && !is_in_region(world.named))
		return true;
	world.named = 0;
	return false;
}

static void tell_taken(void)
{
	char buffer[256];
	struct gy_text text = GY_TEXT(buffer);

	if (world.taken_told)
		return;
	world.taken_told = true;
	gy_message_begin(&text);
	gy_text_add(&text, "the program handles ");
	add_signal(&text);
	gy_text_add(&text, ", which the collector needs (option gc_signal): collection given up");
	gy_message_write(&text);
}

/* ---- the whole ---- */

static void check_kernel_workers(void)
{
	struct gy_task task;

	for (uint32_t i = 0; i < world.kernel_workers;)
		if (gy_task_read(world.kernel_worker[i], &task) ||
		    !(task.kernel || is_sanitizers(&task, UINT64_MAX)))
			world.kernel_worker[i] = world.kernel_worker[--world.kernel_workers];
		else
			i++;
}

/* STOP-9: until the thread looks as if it could come, or turns out to be one of ours that was just
 * starting: those block the signal for ever. False: it is `end_ns`. At least `least_ns`, for the
 * others' sake. */
static bool rest_while_hopeless(pid_t tid, uint64_t least_ns, uint64_t end_ns)
{
	struct gy_task task;

	for (;;) {
		rest(least_ns);
		if (gy_task_read(tid, &task) || !is_hopeless(&task) || is_exempt(tid))
			return true;
		if (gy_now_ns() >= end_ns)
			return false;
	}
}

static int stop_locked(void)
{
	uint64_t begin_ns = gy_now_ns(), slice_ns = SLICE_FIRST_NS, rest_ns = REST_FIRST_NS;
	uint64_t end_ns = begin_ns + gy_option(GY_OPT_gc_stop_timeout) * MS;
	int error;

	for (;;) {
		uint64_t now_ns = gy_now_ns();

		error = stop_once(MIN(now_ns + slice_ns, end_ns), end_ns);
		if (!error)
			return 0;
		if (gy_world_is_stopping())
			gy_world_flag_lower();
		gy_stopper_prefer_no_more();
		if (error != -EAGAIN)
			return error;
		if (gy_now_ns() >= end_ns)
			break;
		if (world.hopeless) {
			if (!rest_while_hopeless(world.hopeless, rest_ns, end_ns))
				break;
			rest_ns = MIN(rest_ns * 2, REST_MOST_NS);
		} else if (world.sleeps) {
			rest(slice_ns * SLEEPER_RESTS);
			slice_ns = MIN(slice_ns * 2, SLICE_SLEEPER_MOST_NS);
		} else { /* half of the time is the program's, whoever is missing */
			rest(slice_ns);
			slice_ns = MIN(slice_ns * 2, SLICE_MOST_NS);
		}
	}
	name_missing();
	return -EDEADLK;
}

static void fill_report(void)
{
	world.report.begin_ns = world.begin_ns;
	world.report.stop_ns = gy_now_ns() - world.begin_ns;
	for (uint32_t i = 0; i < world.table.count; i++) {
		world.report.stopped += world.table.entries[i].role == GY_TASK_ARRIVED;
		world.report.blocked += world.table.entries[i].role == GY_TASK_BLOCKED;
	}
}

/* The rest of the table is of no more use: those that stand still move to its front. */
static void keep_stopped(void)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < world.table.count; i++)
		if (world.table.entries[i].role == GY_TASK_ARRIVED ||
		    world.table.entries[i].role == GY_TASK_BLOCKED)
			world.table.entries[kept++] = world.table.entries[i];
	world.table.count = kept;
}

int gy_world_stop_briefly(struct gy_world_report *report)
{
	int error;

	gy_lock_acquire(&world.lock);
	world.pid = getpid();
	world.self = gy_sys_gettid();
	world.report = (struct gy_world_report){0};
	world.begin_ns = 0;
	if (!gy_world_signal_is_ours()) {
		tell_taken();
		error = -EBUSY;
	} else if (is_still_blocked()) {
		error = -EDEADLK;
	} else {
		check_kernel_workers();
		gy_long_bar(LONG_CALLS_NS);
		world.tasks_fd = gy_tasks_open();
		error = world.tasks_fd < 0 ? world.tasks_fd : stop_locked();
	}
	if (world.tasks_fd >= 0)
		gy_sys_close(world.tasks_fd);
	world.tasks_fd = -1;
	if (!error) {
		fill_report();
		keep_stopped();
	}
	*report = world.report;
	if (error) {
		gy_long_unbar();
		gy_lock_release(&world.lock);
	}
	return error;
}

int gy_world_stop(struct gy_world_report *report)
{
	int error = gy_world_stop_briefly(report);

	if (!error)
		gy_stopper_prefer_no_more();
	return error;
}

void gy_world_start(void)
{
	gy_world_flag_lower();
	gy_stopper_prefer_no_more();
	gy_long_unbar();
	gy_lock_release(&world.lock);
}

unsigned gy_world_count(void)
{
	return world.table.count;
}

struct gy_stopped_thread *gy_world_thread(unsigned index)
{
	return world.table.entries[index].thread;
}

/* ---- fork ---- */

void gy_world_fork_prepare(void)
{
	gy_lock_acquire(&world.lock);
	gy_lock_acquire(&gy_mutators_lock);
}

void gy_world_fork_parent(void)
{
	gy_lock_release(&gy_mutators_lock);
	gy_lock_release(&world.lock);
}

void gy_world_fork_child(void)
{
	gy_lock_release(&gy_mutators_lock);
	gy_lock_release(&world.lock);
	gy_mutators_fork_child();
	gy_lock_init(&world.lock, GY_RANK_world);
	world.named = 0;
	world.kernel_workers = 0;
	world.leader_dead = false;
}
