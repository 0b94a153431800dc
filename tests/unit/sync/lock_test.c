/* lock_test.c - mutex, rwmutex, semaphore, once (sync/mutex.c, rwmutex.c, semaphore.c, once.c). */
#include "sync_unit.h"

#include "sync/seal.h"
#include "sync/wait.h"

/* ---- mutex ---- */

static struct {
	struct gyre_mutex mutex;
	unsigned long count, inside;
} shared;

static void *lock_often(void *number)
{
	for (unsigned i = 0; i < rounds(20000); i++) {
		if ((uintptr_t)number == 0 && i % 4 == 0) {
			if (!gyre_mutex_try_lock(&shared.mutex))
				continue;
		} else {
			gyre_mutex_lock(&shared.mutex);
		}
		cr_assert_eq(shared.inside++, 0);
		shared.count++;
		shared.inside--;
		gyre_mutex_unlock(&shared.mutex);
	}
	return NULL;
}

RACE(mutex, one_thread_at_a_time)
{
	together(4, lock_often);
	cr_assert_geq(shared.count, 3ul * rounds(20000));
	cr_assert(gyre_mutex_try_lock(&shared.mutex));
	cr_assert_not(gyre_mutex_try_lock(&shared.mutex));
	gyre_mutex_unlock(&shared.mutex);
	/* MUTEX-1 to -3: nothing is left behind, but perhaps the note that one is on his way */
	cr_assert_eq(shared.mutex.word & 3, 0);
}

static bool greedy_ends;

static void *be_greedy(GY_UNUSED void *number)
{
	while (!__atomic_load_n(&greedy_ends, __ATOMIC_ACQUIRE)) {
		uint64_t until = unit_now_ms() + 2;

		gyre_mutex_lock(&shared.mutex);
		while (unit_now_ms() < until)
			;
		gyre_mutex_unlock(&shared.mutex);
	}
	return NULL;
}

/* Who holds it nearly all the time, and locks it again at once, still lets others in. */
Test(mutex, MUTEX_1_handed_over_after_a_millisecond)
{
	pthread_t greedy;
	uint64_t begin;

	pthread_create(&greedy, NULL, be_greedy, NULL);
	unit_sleep_ms(5);
	begin = unit_now_ms();
	for (int i = 0; i < 20; i++) {
		gyre_mutex_lock(&shared.mutex);
		gyre_mutex_unlock(&shared.mutex);
	}
	cr_assert_leq(unit_now_ms() - begin, UNIT_SLOW ? 20000 : 5000);
	__atomic_store_n(&greedy_ends, true, __ATOMIC_RELEASE);
	pthread_join(greedy, NULL);
}

static unsigned order[THREADS_MAX], arrived;

static void *lock_in_order(void *number)
{
	gyre_mutex_lock(&shared.mutex);
	order[arrived++] = (unsigned)(uintptr_t)number;
	gyre_mutex_unlock(&shared.mutex);
	return NULL;
}

Test(mutex, MUTEX_4_those_who_waited_long_come_in_order)
{
	pthread_t handles[4];

	gyre_mutex_lock(&shared.mutex);
	for (unsigned i = 0; i < 4; i++) {
		pthread_create(&handles[i], NULL, lock_in_order, (void *)(uintptr_t)i);
		unit_sleep_ms(60);
	}
	gyre_mutex_unlock(&shared.mutex);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(handles[i], NULL);
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(order[i], i);
}

MISUSE(mutex, unlock_of_an_unused_one, "unlock of an unlocked mutex")
{
	struct gyre_mutex mutex = GYRE_MUTEX_INIT;

	gyre_mutex_unlock(&mutex);
}

MISUSE(mutex, unlock_twice, "unlock of an unlocked mutex")
{
	struct gyre_mutex mutex = GYRE_MUTEX_INIT;

	gyre_mutex_lock(&mutex);
	gyre_mutex_unlock(&mutex);
	gyre_mutex_unlock(&mutex);
}

MISUSE(mutex, SEAL_2_a_copy_is_locked, "use of a copied mutex")
{
	struct gyre_mutex mutex = GYRE_MUTEX_INIT, copy;

	gyre_mutex_lock(&mutex);
	gyre_mutex_unlock(&mutex);
	copy = mutex;
	gyre_mutex_lock(&copy);
}

MISUSE(mutex, SEAL_2_a_copy_is_unlocked, "use of a copied mutex")
{
	struct gyre_mutex mutex = GYRE_MUTEX_INIT, copy;

	gyre_mutex_lock(&mutex);
	copy = mutex;
	gyre_mutex_unlock(&copy);
}

static void fork_held(GY_UNUSED void *unused)
{
	pid_t pid;
	int status;

	gyre_mutex_lock(&shared.mutex);
	pid = fork();
	if (!pid) {
		gyre_mutex_unlock(&shared.mutex);
		together(4, lock_often);
		_exit(0);
	}
	gyre_mutex_unlock(&shared.mutex);
	child_check(waitpid(pid, &status, 0) == pid && status == 0);
}

static void *lock_once(GY_UNUSED void *number)
{
	gyre_mutex_lock(&shared.mutex);
	gyre_mutex_unlock(&shared.mutex);
	return NULL;
}

/* Others wait for another's when the holder forks: in the child they do not exist. */
Test(mutex, held_over_fork)
{
	pthread_t waits;
	struct unit_child child;

	gyre_mutex_lock(&shared.mutex);
	pthread_create(&waits, NULL, lock_once, NULL);
	unit_sleep_ms(20);
	gyre_mutex_unlock(&shared.mutex);
	pthread_join(waits, NULL);
	if (GY_TSAN)
		return;
	child = unit_child_run(fork_held, NULL);
	unit_assert_exit(child, 0);
}

/* ---- rwmutex ---- */

static struct {
	struct gyre_rwmutex rwmutex;
	unsigned long a, b;
	unsigned readers, readers_most, writers;
} table;

static void *read_or_write(void *number)
{
	for (unsigned i = 0; i < rounds(10000); i++) {
		if ((i + (uintptr_t)number) % 8 == 0) {
			if (i % 3 || !gyre_rwmutex_try_write_lock(&table.rwmutex))
				gyre_rwmutex_write_lock(&table.rwmutex);
			cr_assert_eq(READ_RELAXED(table.readers), 0);
			table.a++;
			table.b++;
			gyre_rwmutex_write_unlock(&table.rwmutex);
		} else {
			if (i % 3 || !gyre_rwmutex_try_read_lock(&table.rwmutex))
				gyre_rwmutex_read_lock(&table.rwmutex);
			ADD_RELAXED(table.readers, 1);
			cr_assert_eq(table.a, table.b);
			SUB_RELAXED(table.readers, 1);
			gyre_rwmutex_read_unlock(&table.rwmutex);
		}
	}
	return NULL;
}

RACE(rwmutex, readers_or_one_writer)
{
	together(4, read_or_write);
	cr_assert_eq(table.a, table.b);
	cr_assert_gt(table.a, 0);
	cr_assert(gyre_rwmutex_try_write_lock(&table.rwmutex));
	cr_assert_not(gyre_rwmutex_try_read_lock(&table.rwmutex));
	gyre_rwmutex_write_unlock(&table.rwmutex);
	gyre_rwmutex_read_lock(&table.rwmutex);
	cr_assert(gyre_rwmutex_try_read_lock(&table.rwmutex));
	cr_assert_not(gyre_rwmutex_try_write_lock(&table.rwmutex));
	gyre_rwmutex_read_unlock(&table.rwmutex);
	gyre_rwmutex_read_unlock(&table.rwmutex);
}

static uint32_t written;

static void *write_once(GY_UNUSED void *number)
{
	gyre_rwmutex_write_lock(&table.rwmutex);
	__atomic_store_n(&written, 1, __ATOMIC_RELEASE);
	gyre_rwmutex_write_unlock(&table.rwmutex);
	return NULL;
}

Test(rwmutex, RW_1_a_waiting_writer_keeps_readers_out)
{
	pthread_t writer;

	gyre_rwmutex_read_lock(&table.rwmutex);
	pthread_create(&writer, NULL, write_once, NULL);
	while (gyre_rwmutex_try_read_lock(&table.rwmutex)) {
		gyre_rwmutex_read_unlock(&table.rwmutex);
		unit_sleep_ms(1);
	}
	cr_assert_eq(__atomic_load_n(&written, __ATOMIC_ACQUIRE), 0);
	gyre_rwmutex_read_unlock(&table.rwmutex);
	gyre_rwmutex_read_lock(&table.rwmutex); /* behind the writer */
	cr_assert_eq(__atomic_load_n(&written, __ATOMIC_ACQUIRE), 1);
	gyre_rwmutex_read_unlock(&table.rwmutex);
	pthread_join(writer, NULL);
}

MISUSE(rwmutex, read_unlock_of_an_unlocked_one, "read unlock of an unlocked rwmutex")
{
	struct gyre_rwmutex rwmutex = GYRE_RWMUTEX_INIT;

	gyre_rwmutex_read_lock(&rwmutex);
	gyre_rwmutex_read_unlock(&rwmutex);
	gyre_rwmutex_read_unlock(&rwmutex);
}

MISUSE(rwmutex, write_unlock_of_an_unlocked_one, "write unlock of an unlocked rwmutex")
{
	struct gyre_rwmutex rwmutex = GYRE_RWMUTEX_INIT;

	gyre_rwmutex_read_lock(&rwmutex);
	gyre_rwmutex_write_unlock(&rwmutex);
}

MISUSE(rwmutex, SEAL_2_a_copy_is_locked, "use of a copied rwmutex")
{
	struct gyre_rwmutex rwmutex = GYRE_RWMUTEX_INIT, copy;

	gyre_rwmutex_read_lock(&rwmutex);
	gyre_rwmutex_read_unlock(&rwmutex);
	memcpy(&copy, &rwmutex, sizeof(copy));
	gyre_rwmutex_read_lock(&copy);
}

/* ---- semaphore ---- */

static struct {
	struct gyre_semaphore semaphore;
	unsigned long in_use;
} few = {GYRE_SEMAPHORE_INIT(3), 0};

static void *take_some(void *number)
{
	uint32_t want = 1 + (uint32_t)(uintptr_t)number % 3;

	for (unsigned i = 0; i < rounds(5000); i++) {
		if (i % 5 == 0) {
			if (gyre_semaphore_acquire_timed(&few.semaphore, want, 1000))
				continue;
		} else {
			gyre_semaphore_acquire(&few.semaphore, want);
		}
		cr_assert_leq(__atomic_add_fetch(&few.in_use, want, __ATOMIC_RELAXED), 3);
		SUB_RELAXED(few.in_use, want);
		gyre_semaphore_release(&few.semaphore, want);
	}
	return NULL;
}

RACE(semaphore, SEM_2_never_more_than_there_are)
{
	together(5, take_some);
	cr_assert_eq((uint32_t)few.semaphore.word, 3);
}

Test(semaphore, timeouts)
{
	struct gyre_semaphore semaphore = GYRE_SEMAPHORE_INIT(1);
	uint64_t begin = unit_now_ms();

	cr_assert_eq(gyre_semaphore_acquire_timed(&semaphore, 2, 0), -1);
	cr_assert_eq(errno, EAGAIN);
	cr_assert_eq(gyre_semaphore_acquire_timed(&semaphore, 2, 20 * MS), -1);
	cr_assert_eq(errno, ETIMEDOUT);
	cr_assert_geq(unit_now_ms() - begin, 19);
	cr_assert_eq(gyre_semaphore_acquire_timed(&semaphore, 1, 0), 0);
}

static struct gyre_semaphore queue;
static uint32_t many_has;

static void *want_many(GY_UNUSED void *number)
{
	gyre_semaphore_acquire(&queue, 4);
	__atomic_store_n(&many_has, 1, __ATOMIC_RELEASE);
	return NULL;
}

Test(semaphore, who_wants_many_is_not_passed)
{
	pthread_t many;

	pthread_create(&many, NULL, want_many, NULL);
	while (!(READ_RELAXED(queue.word) & 1ull << 31))
		unit_sleep_ms(1);
	gyre_semaphore_release(&queue, 3);
	cr_assert_eq(gyre_semaphore_acquire_timed(&queue, 1, 0), -1); /* there are 3, but */
	gyre_semaphore_release(&queue, 1);
	pthread_join(many, NULL);
	cr_assert_eq(many_has, 1);
}

MISUSE(semaphore, released_too_often, "release beyond the limit of a semaphore")
{
	struct gyre_semaphore semaphore = GYRE_SEMAPHORE_INIT(INT32_MAX);

	gyre_semaphore_release(&semaphore, 1);
}

/* ---- once ---- */

static struct gyre_once once = GYRE_ONCE_INIT;
static unsigned long runs, result;

static void run(void *argument)
{
	unit_sleep_ms(2);
	runs++;
	result = (unsigned long)(uintptr_t)argument;
}

static void *do_once(GY_UNUSED void *number)
{
	gyre_once_do(&once, run, (void *)42);
	cr_assert_eq(result, 42);
	return NULL;
}

RACE(once, ONCE_1_one_call_seen_by_all)
{
	together(6, do_once);
	cr_assert_eq(runs, 1);
}

static void again(void *argument)
{
	gyre_once_do(argument, again, argument);
}

MISUSE(once, ONCE_2_from_its_own_function, "call from its own function of a once")
{
	gyre_once_do(&once, again, &once);
}
