/* finalise.c - cleanups and finalisers: what runs at an object's end, and the thread that runs it.
 *
 * An end is a record outside the heap: the object, a function, an argument.
 *
 *	WAITING   the object lives as far as we know. The record's word for it is no root; the
 *	   |      argument is, and of a finaliser's object the fields are (FIN-2)
 *	QUEUED    (dispose) a finaliser's object was marked, so that it stays; a cleanup's is gone
 *	   |
 *	RUNNING   on the queue's thread, under no lock
 *	   |
 *	(free)
 *
 * Why FIN-2 orders finalisers: all that a finalisable object leads to is marked through its fields,
 * so of a chain only the outermost is found unmarked; the next one's turn comes when that is gone.
 * Objects in a ring mark each other, and never run; a finaliser is the wrong tool for these, a
 * cleanup is not.
 *
 * The finalisers stand in a hash table by their object's first byte, because there is one for each
 * object at most. Cleanups are never looked up.
 *
 * END-1  A record's state changes under gy_finalise_lock, but for RUNNING and its end, which the
 *	  queue's thread does alone. What scanning looks at, it looks at without a lock: object and
 *	  argument are written before the state, and taken away through the barrier (FIN-5).
 * END-2  The thread is made by the call that adds an end, or waits; never by the collector, whose
 *	  own threads may not (NATIVE-2). In a forked child it is made anew by the same calls.
 * END-3  The queue's thread blocks every signal but the collector's and those of faults: a handler
 *	  of the program's does not find itself on it.
 * END-4  Due is what stands in the queue; `finished` reaches `queued` when nothing is.
 * END-5  A call that leaves by pthread_exit takes the thread with it. What it ran counts as
 *	  finished, and a new thread goes on; where none can be made, the next of the calls of END-2
 *	  makes it.
 * END-6  What ran counts as finished only when nothing of it is left in the thread's registers and
 *	  below its frames. Who waits for the end may begin the next cycle at once, and find the
 *	  thread still on its way to its wait, where it is scanned: what the call had in hand (the
 *	  next object with a cleanup, say) would be held by nothing but that, cycle after cycle if
 *	  cycles follow close upon each other and the thread has no processor.
 */
#include "gc/finalise.h"

#include "base/config.h"
#include "base/probe.h"
#include "gc/cycle.h"
#include "gc/table.h"
#include "os/sys.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#define BUCKETS_LOG2_MIN 6u
#define BUCKETS_LOG2_BLOCK_MAX 20u /* of bytes; larger tables are never given back */
#define FORGOTTEN_WORDS 256u /* more than the frames that lead to the wait: END-6 */

enum end_state { FREE, WAITING, QUEUED, RUNNING };
enum { NONE, STARTING, RUNS };

struct gy_end {
	void *object;	     /* WAITING: no root; as the program named it */
	struct gy_end *next; /* in the queue, or in a bucket */
	void *argument;
	union {
		void (*finalise)(void *object, void *argument);
		void (*run)(void *argument);
	} call;
	uint8_t is_finaliser;
	uint8_t state; /* [atomic: release; END-1] enum end_state */
};

struct gy_lock gy_finalise_lock = GY_LOCK_INIT(GY_RANK_finalise);

static struct {
	struct gy_table cleanups, finalisers;
	struct gy_end **buckets; /* [lock: finalise] of finalisers that are WAITING */
	unsigned buckets_log2;	 /* 0: none */
	struct gy_end *first, **last; /* [lock: finalise] the queue */
	struct gy_end *running;	      /* [queue's thread] */
	uint64_t queued;	      /* [lock: finalise] since start */
	uint64_t finished;	      /* [atomic; lock: finalise] since start */
	uint32_t has_work;	      /* [atomic] futex: the queue's thread sleeps here */
	uint32_t done;		      /* [atomic] futex: counts up as ends finish */
	uint32_t thread;	      /* [atomic] futex: NONE, STARTING, RUNS; END-2 */
} ends = {
	.cleanups = GY_TABLE_INIT(struct gy_end),
	.finalisers = GY_TABLE_INIT(struct gy_end),
	.last = &ends.first,
};

static __thread bool is_queue_thread GY_TLS_INITIAL_EXEC;

/* ---- finalisers by object -------------------------------------------------------------------- */

static uintptr_t key_of(const void *object)
{
	struct gy_object found;

	return gy_object_find((uintptr_t)object, &found) ? (uintptr_t)gy_object_start(found) : 0;
}

static struct gy_end **bucket_of(uintptr_t key)
{
	return &ends.buckets[(key >> 4) * 0x9e3779b97f4a7c15ull >> (64 - ends.buckets_log2)];
}

/* Twice the buckets, once there is more than one record for each. Without memory, longer chains. */
static bool buckets_grow(void)
{
	unsigned old_log2 = ends.buckets_log2;
	unsigned log2 = old_log2 ? old_log2 + 1 : BUCKETS_LOG2_MIN;
	size_t bytes = sizeof(struct gy_end *) << log2;
	struct gy_end **old = ends.buckets;
	struct gy_end **buckets = log2 + 3 <= BUCKETS_LOG2_BLOCK_MAX
					  ? gy_metadata_block_take(log2 + 3)
					  : gy_metadata_take(bytes);

	if (!buckets)
		return false;
	memset(buckets, 0, bytes);
	ends.buckets = buckets;
	ends.buckets_log2 = log2;
	for (size_t i = 0; old && i < (size_t)1 << old_log2; i++) {
		for (struct gy_end *end = old[i], *next; end; end = next) {
			struct gy_end **bucket = bucket_of(key_of(end->object));

			next = end->next;
			end->next = *bucket;
			*bucket = end;
		}
	}
	if (old && old_log2 + 3 <= BUCKETS_LOG2_BLOCK_MAX)
		gy_metadata_block_give(old, old_log2 + 3);
	return true;
}

/* Where the finaliser of the object that starts at `key` hangs; NULL if there is none. */
static struct gy_end **finaliser_find(uintptr_t key)
{
	if (!ends.buckets)
		return NULL;
	for (struct gy_end **at = bucket_of(key); *at; at = &(*at)->next)
		if (key_of((*at)->object) == key)
			return at;
	return NULL;
}

/* ---- adding ---------------------------------------------------------------------------------- */

static int ensure_thread(void);

/* [lock: finalise] */
static void end_arm(struct gy_end *end, void *object, void *argument)
{
	end->object = object;
	end->argument = argument;
	__atomic_store_n(&end->state, WAITING, __ATOMIC_RELEASE);
}

/* Takes what it holds away through the barrier, then gives the record back. */
static void end_give(struct gy_end *end)
{
	gy_barrier_exchange(&end->object, NULL);
	gy_barrier_exchange(&end->argument, NULL);
	gy_table_give(end->is_finaliser ? &ends.finalisers : &ends.cleanups, end);
}

int gy_cleanup_add(void *object, void (*run)(void *), void *argument)
{
	struct gy_end *end;

	if (ensure_thread())
		return -ENOMEM;
	gy_lock_acquire(&gy_finalise_lock);
	end = gy_table_take(&ends.cleanups);
	if (end) {
		end->call.run = run;
		end_arm(end, object, argument);
	}
	gy_lock_release(&gy_finalise_lock);
	return end ? 0 : -ENOMEM;
}

static bool finaliser_add(uintptr_t key, void *object, void (*finalise)(void *, void *),
			  void *argument)
{
	struct gy_end *end, **bucket;

	if ((!ends.buckets || ends.finalisers.count >> ends.buckets_log2) && !buckets_grow() &&
	    !ends.buckets)
		return false;
	end = gy_table_take(&ends.finalisers);
	if (!end)
		return false;
	end->is_finaliser = true;
	end->call.finalise = finalise;
	bucket = bucket_of(key);
	end->next = *bucket;
	*bucket = end;
	end_arm(end, object, argument);
	return true;
}

int gy_finaliser_set(void *object, void (*finalise)(void *, void *), void *argument)
{
	uintptr_t key = key_of(object);
	struct gy_end **found, *end;
	bool added = true;

	if (finalise && ensure_thread())
		return -ENOMEM;
	gy_lock_acquire(&gy_finalise_lock);
	found = finaliser_find(key);
	if (found && finalise) {
		end = *found;
		end->call.finalise = finalise;
		end->object = object;
		gy_barrier_exchange(&end->argument, argument);
	} else if (found) {
		end = *found;
		*found = end->next;
		__atomic_store_n(&end->state, FREE, __ATOMIC_RELAXED);
		end_give(end);
	} else if (finalise) {
		added = finaliser_add(key, object, finalise, argument);
	}
	gy_lock_release(&gy_finalise_lock);
	return added ? 0 : -ENOMEM;
}

/* ---- the cycle's part ------------------------------------------------------------------------ */

static void scan_end(void *record, void *marker)
{
	struct gy_end *end = record;
	enum end_state state = __atomic_load_n(&end->state, __ATOMIC_ACQUIRE);
	void *object = READ_RELAXED(end->object), *argument = READ_RELAXED(end->argument);

	if (state == FREE)
		return;
	if (argument)
		gy_mark_word(marker, (uintptr_t)argument);
	if (!object || !end->is_finaliser)
		return;
	if (state == WAITING)
		gy_mark_fields(marker, object); /* FIN-2 */
	else
		gy_mark_word(marker, (uintptr_t)object); /* FIN-4 */
}

void gy_finalise_scan_roots(struct gy_marker *marker)
{
	gy_gc_step();
	gy_handle_scan_roots(marker);
	gy_table_each(&ends.cleanups, scan_end, marker);
	gy_table_each(&ends.finalisers, scan_end, marker);
}

struct root_visit {
	void (*word)(uintptr_t word, void *argument);
	void (*fields)(void *object, void *argument);
	void *argument;
};

static void visit_end(void *record, void *argument)
{
	const struct root_visit *visit = argument;
	struct gy_end *end = record;

	if (end->state == FREE)
		return;
	visit->word((uintptr_t)end->argument, visit->argument);
	if (!end->object || !end->is_finaliser)
		return;
	if (end->state == WAITING)
		visit->fields(end->object, visit->argument);
	else
		visit->word((uintptr_t)end->object, visit->argument);
}

void gy_finalise_each_root(void (*visit_word)(uintptr_t word, void *argument),
			   void (*visit_fields)(void *object, void *argument), void *argument)
{
	struct root_visit visit = {visit_word, visit_fields, argument};

	gy_handle_each(visit_word, argument);
	gy_table_each(&ends.cleanups, visit_end, &visit);
	gy_table_each(&ends.finalisers, visit_end, &visit);
}

/* At the queue's end. [lock: finalise] */
static void enqueue(struct gy_end *end)
{
	WRITE_RELAXED(end->next, NULL);
	WRITE_RELAXED(*ends.last, end);
	ends.last = &end->next;
	ends.queued++;
	__atomic_store_n(&end->state, QUEUED, __ATOMIC_RELEASE);
}

struct disposal {
	struct gy_marker *marker;
	bool marked;
};

static bool is_dead(const struct gy_end *end)
{
	void *address = READ_RELAXED(end->object);
	struct gy_object object;

	return __atomic_load_n(&end->state, __ATOMIC_ACQUIRE) == WAITING && address &&
	       gy_object_find((uintptr_t)address, &object) && !gy_object_is_marked(object);
}

/* FIN-3. What is dead is known to nobody but us: nobody else touches its record. */
static void dispose_finaliser(void *record, void *argument)
{
	struct disposal *disposal = argument;
	struct gy_end *end = record, **found;

	if (!is_dead(end))
		return;
	gy_lock_acquire(&gy_finalise_lock);
	found = finaliser_find(key_of(end->object));
	CHECK(found && *found == end);
	*found = end->next;
	enqueue(end);
	gy_lock_release(&gy_finalise_lock);
	gy_mark_word(disposal->marker, (uintptr_t)end->object);
	disposal->marked = true;
}

static void dispose_cleanup(void *record, void *unused)
{
	struct gy_end *end = record;

	(void)unused;
	if (!is_dead(end))
		return;
	gy_lock_acquire(&gy_finalise_lock);
	WRITE_RELAXED(end->object, NULL);
	enqueue(end);
	gy_lock_release(&gy_finalise_lock);
}

bool gy_finalise_process(struct gy_marker *marker)
{
	struct disposal disposal = {marker, false};

	gy_weak_clear_dead();
	gy_gc_step();
	gy_table_each(&ends.finalisers, dispose_finaliser, &disposal);
	gy_gc_step();
	gy_table_each(&ends.cleanups, dispose_cleanup, NULL);
	return disposal.marked;
}

void gy_finalise_queue_run(void)
{
	if (!__atomic_load_n(&ends.first, __ATOMIC_ACQUIRE))
		return;
	__atomic_store_n(&ends.has_work, 1, __ATOMIC_SEQ_CST);
	gy_sys_futex_wake(&ends.has_work, 1, false);
}

/* ---- the queue's thread ---------------------------------------------------------------------- */

/* A function of its own, so that its frame with the object in it is gone afterwards. */
static GY_NOINLINE void call(struct gy_end *end)
{
	GY_PROBE2(gc_finalise, end->object, end->is_finaliser ? 1 : 2);
	if (end->is_finaliser)
		end->call.finalise(end->object, end->argument);
	else
		end->call.run(end->argument);
}

/* END-6. Everything below the caller's frame, from its very end on (a function would begin below
 * its own frame), and the registers; those that a function keeps for its caller have been given
 * back. Upper halves of wide vectors are left to the code that used them, which zeroes them
 * for speed's sake. The caller calls functions, so it has no red zone. */
GY_INLINE void forget(void)
{
#if defined(__x86_64__)
	intptr_t at = -(intptr_t)FORGOTTEN_WORDS;

	__asm__ volatile("1:	movq $0, (%%rsp,%[at],8)\n"
			 "	incq %[at]\n"
			 "	jnz 1b\n"
			 : [at] "+r"(at)
			 :
			 : "cc", "memory");
	__asm__ volatile("	pxor %%xmm0, %%xmm0\n	pxor %%xmm1, %%xmm1\n"
			 "	pxor %%xmm2, %%xmm2\n	pxor %%xmm3, %%xmm3\n"
			 "	pxor %%xmm4, %%xmm4\n	pxor %%xmm5, %%xmm5\n"
			 "	pxor %%xmm6, %%xmm6\n	pxor %%xmm7, %%xmm7\n"
			 "	pxor %%xmm8, %%xmm8\n	pxor %%xmm9, %%xmm9\n"
			 "	pxor %%xmm10, %%xmm10\n	pxor %%xmm11, %%xmm11\n"
			 "	pxor %%xmm12, %%xmm12\n	pxor %%xmm13, %%xmm13\n"
			 "	pxor %%xmm14, %%xmm14\n	pxor %%xmm15, %%xmm15\n"
			 "	xorl %%eax, %%eax\n	xorl %%ecx, %%ecx\n"
			 "	xorl %%edx, %%edx\n	xorl %%esi, %%esi\n"
			 "	xorl %%edi, %%edi\n	xorl %%r8d, %%r8d\n"
			 "	xorl %%r9d, %%r9d\n	xorl %%r10d, %%r10d\n"
			 "	xorl %%r11d, %%r11d\n"
			 :
			 :
			 : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm0",
			   "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
			   "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc", "memory");
#endif
}

/* Inline: between its frame and that of call() may be nothing that forget() does not reach. */
GY_INLINE void end_finish(struct gy_end *end)
{
	gy_lock_acquire(&gy_finalise_lock);
	ends.running = NULL;
	__atomic_store_n(&end->state, FREE, __ATOMIC_RELAXED);
	end_give(end);
	forget();
	WRITE_RELAXED(ends.finished, ends.finished + 1);
	gy_lock_release(&gy_finalise_lock);
}

static void wake_waiters(void)
{
	__atomic_fetch_add(&ends.done, 1, __ATOMIC_SEQ_CST);
	gy_sys_futex_wake(&ends.done, INT32_MAX, false);
}

/* Runs the first of the queue; false: it is empty. */
static bool run_first(void)
{
	struct gy_end *end;

	gy_lock_acquire(&gy_finalise_lock);
	end = ends.first;
	if (end) {
		WRITE_RELAXED(ends.first, end->next);
		if (!end->next)
			ends.last = &ends.first;
		ends.running = end;
		__atomic_store_n(&end->state, RUNNING, __ATOMIC_RELEASE);
	}
	gy_lock_release(&gy_finalise_lock);
	if (!end)
		return false;

	call(end);
	end_finish(end);
	wake_waiters();
	return true;
}

/* END-3 */
static uint64_t signals_set(void)
{
	static const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
	uint64_t set = 1ull << (gy_option(GY_OPT_gc_signal) - 1);

	for (size_t i = 0; i < ARRAY_SIZE(open); i++)
		set |= 1ull << (open[i] - 1);
	return gy_sys_signals_block(set);
}

/* END-5 */
static void queue_left(void *unused)
{
	(void)unused;
	if (ends.running)
		end_finish(ends.running);
	is_queue_thread = false;
	__atomic_store_n(&ends.thread, NONE, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&ends.first, __ATOMIC_ACQUIRE))
		ensure_thread();
	wake_waiters();
}

static void queue_loop(void)
{
	struct gy_gc_thread *thread;

	while (!(thread = gy_gc_thread())) {
		struct timespec brief = {0, 10000000};
		uint32_t never = 0;

		gy_sys_futex_wait(&never, 0, &brief, false);
	}
	for (;;) {
		__atomic_store_n(&ends.has_work, 0, __ATOMIC_SEQ_CST);
		while (run_first())
			;
		gy_blocking_begin(&thread->mutator);
		gy_sys_futex_wait(&ends.has_work, 0, NULL, false);
		gy_blocking_end(&thread->mutator);
	}
}

static void *queue_main(void *unused)
{
	is_queue_thread = true;
	prctl(PR_SET_NAME, "gyre-finalise");
	pthread_cleanup_push(queue_left, unused);
	queue_loop();
	pthread_cleanup_pop(0);
	return NULL;
}

static int make_thread(void)
{
	pthread_attr_t attributes;
	uint64_t signals;
	pthread_t made;
	int error = gy_sys_fault(GY_SYS_thread_create);

	if (error)
		return error;
	error = -pthread_attr_init(&attributes);
	if (error)
		return error;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	signals = signals_set();
	error = -pthread_create(&made, &attributes, queue_main, NULL);
	gy_sys_signals_restore(signals);
	pthread_attr_destroy(&attributes);
	return error;
}

/* Who finds another making it waits for the outcome: without a thread nothing would ever run. */
static int ensure_thread(void)
{
	for (;;) {
		uint32_t state = __atomic_load_n(&ends.thread, __ATOMIC_ACQUIRE);
		int error;

		if (likely(state == RUNS))
			return 0;
		if (state == STARTING) {
			gy_sys_futex_wait(&ends.thread, STARTING, NULL, false);
			continue;
		}
		if (!__atomic_compare_exchange_n(&ends.thread, &state, STARTING, false,
						 __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			continue;
		error = make_thread();
		__atomic_store_n(&ends.thread, error ? NONE : RUNS, __ATOMIC_SEQ_CST);
		gy_sys_futex_wake(&ends.thread, INT32_MAX, false);
		return error;
	}
}

void gy_finalise_wait(void)
{
	struct gy_gc_thread *thread = gy_gc_thread();
	uint64_t due;

	if (!thread || is_queue_thread)
		return;
	gy_lock_acquire(&gy_finalise_lock);
	due = ends.queued;
	gy_lock_release(&gy_finalise_lock);
	for (;;) {
		uint32_t done = __atomic_load_n(&ends.done, __ATOMIC_SEQ_CST);

		if (__atomic_load_n(&ends.finished, __ATOMIC_SEQ_CST) >= due || ensure_thread())
			return;
		gy_finalise_queue_run();
		gy_blocking_begin(&thread->mutator);
		gy_sys_futex_wait(&ends.done, done, NULL, false);
		gy_blocking_end(&thread->mutator);
	}
}

uint64_t gy_finalise_count(void)
{
	return READ_RELAXED(ends.finished);
}

/* ---- start, fork ----------------------------------------------------------------------------- */

int gy_finalise_init(void)
{
	gy_weak_init();
	return 0;
}

void gy_finalise_fork_prepare(void)
{
	gy_lock_acquire(&gy_finalise_lock);
}

void gy_finalise_fork_parent(void)
{
	gy_lock_release(&gy_finalise_lock);
}

/* What was running, runs in the parent; unless it is what has forked. */
void gy_finalise_fork_child(void)
{
	gy_lock_init(&gy_finalise_lock, GY_RANK_finalise);
	gy_weak_init();
	if (is_queue_thread)
		return;
	ends.thread = NONE;
	if (!ends.running)
		return;
	ends.running->state = FREE;
	ends.running->object = ends.running->argument = NULL;
	gy_table_give(ends.running->is_finaliser ? &ends.finalisers : &ends.cleanups, ends.running);
	ends.running = NULL;
	ends.finished++;
}
