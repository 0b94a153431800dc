/* sync.h - threads that talk to each other: the public contract of Gyre's synchronisation.
 *
 *	static struct gyre_mutex lock = GYRE_MUTEX_INIT;
 *	struct gyre_chan *jobs = gyre_chan_new(sizeof(struct job *), 64, GYRE_TRACED);
 *
 *	gyre_chan_send(jobs, &job);			// here
 *	while (!gyre_chan_recv(jobs, &job)) work(job);	// there, until it is closed and empty
 *
 * What each call guarantees about the order of memory is gyre-memory-model(7); all of it together
 * is gyre_sync(3). Rules for the whole header:
 *
 * - Any thread may use all of this, and need not register. No call is async-signal-safe, and none
 *   is a cancellation point. A thread must not be cancelled, or leave by longjmp, in one.
 * - Zero bytes are a valid initial value of each struct that is shown here; GYRE_x_INIT says so in
 *   words. One that has been used must not be copied or moved, and not lie in memory that
 *   processes share.
 * - A wait sleeps on a futex, within a blocking region: a thread that has used the collector is not
 *   signalled by it meanwhile, and holds up no collection. Where there is more than one CPU a wait
 *   begins with some ten microseconds of looking.
 * - Times are nanoseconds from now, as int64_t: GYRE_FOREVER waits without end, 0 not at all. The
 *   clock is CLOCK_MONOTONIC.
 * - Misuse ends the process with one line on stderr and SIGABRT: "gyre: PID NAME: misuse: WHAT at
 *   ADDRESS". The texts WHAT stand below, under Misuse.
 * - fork: the child has one thread; what other threads held is held for ever, and a channel, pool
 *   or map that another thread was just using may be left so. Use in the child what no other thread
 *   used at that moment.
 * - Waiters are served first come, first served, if not said otherwise.
 */
#ifndef GYRE_SYNC_H
#define GYRE_SYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GYRE_FOREVER ((int64_t)-1)

/* What elements of a channel, or items of a pool, are to the collector. */
enum gyre_contents {
	GYRE_PLAIN = 0,	    /* bytes: not looked at, no collector needed */
	GYRE_TRACED = 1,    /* each aligned word may be a pointer to an object, and holds it */
	GYRE_COLLECTED = 3, /* traced, and the channel itself is an object that nobody frees */
};

/* ---- mutex ---------------------------------------------------------------------------------- */

/* struct gyre_mutex - a lock that one thread holds at a time. */
struct gyre_mutex {
	uint64_t word; /* the library's */
};
#define GYRE_MUTEX_INIT                                                                           \
	{                                                                                         \
		0                                                                                 \
	}

/* gyre_mutex_lock, gyre_mutex_try_lock, gyre_mutex_unlock - a lock that starves nobody.
 * As Go's: a thread that is woken competes with those that are just coming, which is fast; but one
 * that has waited for a millisecond is handed the lock by the next unlock, in order of arrival. Not
 * recursive. Any thread may unlock what another has locked.
 * @mutex       not NULL
 * Returns      try_lock: whether it holds the lock now
 * Errors       none
 * Misuse       "unlock of an unlocked mutex", "use of a copied mutex"
 * Threads      any thread; waits in a blocking region     Signals  not async-signal-safe
 * Fork         what the forking thread holds, it holds in the child too
 * Cost         8 bytes; uncontended one locked instruction each
 * Since 0.1    Source  sync/mutex.c; Go's sync.Mutex */
static inline void gyre_mutex_lock(struct gyre_mutex *mutex);
static inline bool gyre_mutex_try_lock(struct gyre_mutex *mutex);
static inline void gyre_mutex_unlock(struct gyre_mutex *mutex);

/* ---- readers and writer --------------------------------------------------------------------- */

/* struct gyre_semaphore - a count to take from. */
struct gyre_semaphore {
	uint64_t word; /* the library's; low half: the count */
};
#define GYRE_SEMAPHORE_INIT(count)                                                                \
	{                                                                                         \
		(uint32_t)(count)                                                                 \
	}

/* struct gyre_rwmutex - a lock that one writer or any number of readers hold. */
struct gyre_rwmutex {
	uint64_t word;			       /* the library's */
	struct gyre_mutex writer;	       /* among writers */
	struct gyre_semaphore read_turn, write_turn;
	uint64_t leaving;		       /* readers the writer still waits for */
};
#define GYRE_RWMUTEX_INIT                                                                         \
	{                                                                                         \
		0, GYRE_MUTEX_INIT, GYRE_SEMAPHORE_INIT(0), GYRE_SEMAPHORE_INIT(0), 0             \
	}

/* gyre_rwmutex_read_lock, gyre_rwmutex_try_read_lock, gyre_rwmutex_read_unlock - as reader.
 * A writer that waits keeps later readers out, so that it comes to its turn; the readers that
 * came meanwhile go before the next writer. A thread that holds it for reading must therefore not
 * lock it again.
 * @rwmutex     not NULL
 * Returns      try: whether it holds the lock now
 * Errors       none
 * Misuse       "read unlock of an unlocked rwmutex", "use of a copied rwmutex"
 * Threads      any thread; waits in a blocking region     Signals  not async-signal-safe
 * Cost         uncontended one locked instruction each
 * Since 0.1    Source  sync/rwmutex.c; Go's sync.RWMutex */
void gyre_rwmutex_read_lock(struct gyre_rwmutex *rwmutex);
bool gyre_rwmutex_try_read_lock(struct gyre_rwmutex *rwmutex);
void gyre_rwmutex_read_unlock(struct gyre_rwmutex *rwmutex);

/* gyre_rwmutex_write_lock, gyre_rwmutex_try_write_lock, gyre_rwmutex_write_unlock - alone.
 * @rwmutex     not NULL
 * Returns      try: whether it holds the lock now
 * Errors       none
 * Misuse       "write unlock of an unlocked rwmutex", "use of a copied rwmutex"
 * Threads      any thread; waits in a blocking region     Signals  not async-signal-safe
 * Cost         uncontended two locked instructions each
 * Since 0.1    Source  sync/rwmutex.c; Go's sync.RWMutex */
void gyre_rwmutex_write_lock(struct gyre_rwmutex *rwmutex);
bool gyre_rwmutex_try_write_lock(struct gyre_rwmutex *rwmutex);
void gyre_rwmutex_write_unlock(struct gyre_rwmutex *rwmutex);

/* ---- semaphore ------------------------------------------------------------------------------ */

/* gyre_semaphore_acquire, gyre_semaphore_acquire_timed, gyre_semaphore_release - take, give back.
 * Who asks for many is not passed by who asks for few.
 * @semaphore   not NULL; its count is GYRE_SEMAPHORE_INIT's, or 0
 * @count       how many, up to 2^31 - 1
 * @timeout_ns  nanoseconds, GYRE_FOREVER, or 0: only if there are as many now
 * Returns      acquire_timed: 0, or -1
 * Errors       EAGAIN     not as many, and timeout_ns is 0
 *              ETIMEDOUT
 * Misuse       "release beyond the limit of a semaphore", "use of a copied semaphore"
 * Threads      any thread; waits in a blocking region     Signals  not async-signal-safe
 * Cost         8 bytes; uncontended one locked instruction each
 * Since 0.1    Source  sync/semaphore.c; golang.org/x/sync/semaphore */
void gyre_semaphore_acquire(struct gyre_semaphore *semaphore, uint32_t count);
int gyre_semaphore_acquire_timed(struct gyre_semaphore *semaphore, uint32_t count,
				 int64_t timeout_ns);
void gyre_semaphore_release(struct gyre_semaphore *semaphore, uint32_t count);

/* ---- once ----------------------------------------------------------------------------------- */

/* struct gyre_once - something that is done once. */
struct gyre_once {
	uint32_t done, runner; /* the library's */
	struct gyre_mutex mutex;
};
#define GYRE_ONCE_INIT                                                                            \
	{                                                                                         \
		0, 0, GYRE_MUTEX_INIT                                                             \
	}

/* gyre_once_do - call a function, if nobody has.
 * Whoever returns from here may rely on the one call having returned.
 * @once        not NULL
 * @run         called by one thread, once; must return
 * @argument    handed to it
 * Returns      nothing
 * Errors       none
 * Misuse       "call from its own function of a once", "use of a copied mutex"
 * Threads      any thread; waits in a blocking region     Signals  not async-signal-safe
 * Cost         once it is done, a load and a branch
 * Since 0.1    Source  sync/once.c; Go's sync.Once */
static inline void gyre_once_do(struct gyre_once *once, void (*run)(void *argument),
				void *argument);

/* ---- wait group ----------------------------------------------------------------------------- */

/* struct gyre_wait_group - a count of what is still to be done. */
struct gyre_wait_group {
	uint64_t word; /* the library's */
};
#define GYRE_WAIT_GROUP_INIT                                                                      \
	{                                                                                         \
		0                                                                                 \
	}

/* gyre_wait_group_add, gyre_wait_group_done - more, or less, to wait for.
 * done is add of -1. What takes the count from 0 must be ordered before the wait that is meant.
 * @group       not NULL
 * @delta       how many more; below 0 fewer
 * Returns      nothing
 * Errors       none
 * Misuse       "negative count of a wait group", "use of a copied wait group"
 * Threads      any thread                 Signals  not async-signal-safe
 * Cost         one locked instruction; the last one wakes who waits
 * Since 0.1    Source  sync/wait_group.c; Go's sync.WaitGroup */
void gyre_wait_group_add(struct gyre_wait_group *group, int32_t delta);
void gyre_wait_group_done(struct gyre_wait_group *group);

/* gyre_wait_group_wait, gyre_wait_group_wait_timed - wait until the count is 0.
 * @group       not NULL
 * @timeout_ns  nanoseconds, GYRE_FOREVER, or 0
 * Returns      wait_timed: 0, or -1
 * Errors       EAGAIN     it is not, and timeout_ns is 0
 *              ETIMEDOUT
 * Misuse       "use of a copied wait group"
 * Threads      any number; waits in a blocking region     Signals  not async-signal-safe
 * Cost         a load where there is nothing to wait for
 * Since 0.1    Source  sync/wait_group.c; Go's sync.WaitGroup */
void gyre_wait_group_wait(struct gyre_wait_group *group);
int gyre_wait_group_wait_timed(struct gyre_wait_group *group, int64_t timeout_ns);

/* ---- condition ------------------------------------------------------------------------------ */

/* struct gyre_cond - something to be told of. */
struct gyre_cond {
	uint64_t word; /* the library's */
};
#define GYRE_COND_INIT                                                                            \
	{                                                                                         \
		0                                                                                 \
	}

/* gyre_cond_wait, gyre_cond_wait_timed - unlock, wait to be told, lock again.
 * There are no spurious returns, but by then others may have changed what was told of: call it in
 * a loop.
 * @cond        not NULL
 * @mutex       held by the caller
 * @timeout_ns  nanoseconds, or GYRE_FOREVER
 * Returns      wait_timed: 0, or -1; it holds the mutex in each case
 * Errors       ETIMEDOUT
 * Misuse       "use of a copied condition", and those of gyre_mutex_unlock
 * Threads      any number; waits in a blocking region     Signals  not async-signal-safe
 * Cost         a lock of the library's, a sleep, and the mutex
 * Since 0.1    Source  sync/cond.c; Go's sync.Cond */
void gyre_cond_wait(struct gyre_cond *cond, struct gyre_mutex *mutex);
int gyre_cond_wait_timed(struct gyre_cond *cond, struct gyre_mutex *mutex, int64_t timeout_ns);

/* gyre_cond_signal, gyre_cond_broadcast - tell who has waited longest, or all.
 * @cond        not NULL
 * Returns      nothing
 * Errors       none
 * Misuse       "use of a copied condition"
 * Threads      any thread; it need not hold the mutex     Signals  not async-signal-safe
 * Cost         a load where nobody waits
 * Since 0.1    Source  sync/cond.c; Go's sync.Cond */
void gyre_cond_signal(struct gyre_cond *cond);
void gyre_cond_broadcast(struct gyre_cond *cond);

/* ---- channels ------------------------------------------------------------------------------- */

struct gyre_chan;

/* gyre_chan_new, gyre_chan_free - a queue of elements between threads.
 * A channel of capacity 0 has no buffer: sender and receiver meet. Of several that wait on one side
 * of it, the last who came may go before the first, up to 32 times in a row, if it has not gone to
 * sleep yet. free is for channels that are
 * not GYRE_COLLECTED, and after their last use; what is still in the buffer is forgotten. A send
 * whose element has been received is over in that sense, even if the call has not returned yet: who
 * has received the one answer may free the channel it came by.
 * @element_bytes   size of an element: 0 to 65536; for GYRE_TRACED a multiple of 8
 * @capacity    elements that can wait in the buffer; all of it takes up to 1 GiB
 * @contents    GYRE_PLAIN, GYRE_TRACED or GYRE_COLLECTED
 * @chan        of free: NULL is nothing
 * Returns      the channel, or NULL
 * Errors       EINVAL  a size out of bounds
 *              ENOMEM
 * Misuse       free: "free of a channel that threads wait for"
 * Threads      any thread                 Signals  not async-signal-safe
 * Cost         an allocation
 * Since 0.1    Source  sync/channel.c; Go's make(chan) */
struct gyre_chan *gyre_chan_new(size_t element_bytes, size_t capacity,
				enum gyre_contents contents);
void gyre_chan_free(struct gyre_chan *chan);

/* gyre_chan_send, gyre_chan_try_send, gyre_chan_send_timed - one element into a channel.
 * Waits while the buffer is full, or, without one, until a receiver has the element.
 * @chan        not NULL
 * @element     copied; aligned to 8 if traced
 * @timeout_ns  nanoseconds, GYRE_FOREVER, or 0
 * Returns      try_send, send_timed: 0, or -1: then nothing was sent
 * Errors       EAGAIN     try_send, or timeout_ns is 0: it would have to wait
 *              ETIMEDOUT
 * Misuse       "send on a closed channel": also by one who waits while it is closed
 * Threads      any thread; waits in a blocking region     Signals  not async-signal-safe
 * Cost         two locked instructions and the copy; more where threads meet
 * Since 0.1    Source  sync/channel.c; Go's c <- v */
void gyre_chan_send(struct gyre_chan *chan, const void *element);
int gyre_chan_try_send(struct gyre_chan *chan, const void *element);
int gyre_chan_send_timed(struct gyre_chan *chan, const void *element, int64_t timeout_ns);

/* gyre_chan_recv, gyre_chan_try_recv, gyre_chan_recv_timed - one element out of a channel.
 * Waits until there is one, or the channel is closed.
 * @chan        not NULL
 * @element     filled; zeroed if the channel is closed and empty, else untouched by an error. NULL:
 *              the element is thrown away. Aligned to 8 if traced
 * @timeout_ns  nanoseconds, GYRE_FOREVER, or 0
 * Returns      0, or -1
 * Errors       EPIPE      closed, and empty
 *              EAGAIN     try_recv, or timeout_ns is 0: it would have to wait
 *              ETIMEDOUT
 * Threads      any thread; waits in a blocking region     Signals  not async-signal-safe
 * Cost         two locked instructions and the copy; more where threads meet
 * Since 0.1    Source  sync/channel.c; Go's v, ok = <-c */
int gyre_chan_recv(struct gyre_chan *chan, void *element);
int gyre_chan_try_recv(struct gyre_chan *chan, void *element);
int gyre_chan_recv_timed(struct gyre_chan *chan, void *element, int64_t timeout_ns);

/* gyre_chan_close - no more elements will come.
 * What is in the buffer can still be received; then every receive fails with EPIPE at once. Closing
 * is the sender's: a send after it is misuse.
 * @chan        not NULL
 * Returns      nothing
 * Errors       none
 * Misuse       "close of a closed channel"
 * Threads      any thread                 Signals  not async-signal-safe
 * Cost         wakes all who wait
 * Since 0.1    Source  sync/channel.c; Go's close */
void gyre_chan_close(struct gyre_chan *chan);

/* gyre_chan_count, gyre_chan_capacity - elements in the buffer now; how many there may be.
 * @chan        not NULL
 * Returns      elements
 * Errors       none
 * Threads      any thread                 Signals  not async-signal-safe
 * Cost         a load
 * Since 0.1    Source  sync/channel.c; Go's len and cap */
size_t gyre_chan_count(const struct gyre_chan *chan);
size_t gyre_chan_capacity(const struct gyre_chan *chan);

#define GYRE_SELECT_MAX 64

enum gyre_direction { GYRE_RECV = 0, GYRE_SEND = 1 };

/* struct gyre_case - one of the operations that gyre_select chooses from. */
struct gyre_case {
	struct gyre_chan *chan;	       /* NULL: never chosen */
	void *element;		       /* as in gyre_chan_send and gyre_chan_recv */
	enum gyre_direction direction;
	bool closed;		       /* filled: chosen, and the channel is closed and empty */
};

/* gyre_select - do one of several sends and receives, whichever can be done first.
 * Of those that can be done now it chooses by chance, each with the same chance. A receive from
 * a closed, empty channel can be done: `closed` tells, its element is zeroed.
 * @cases       what to choose from; a channel may stand in several
 * @count       of cases, up to GYRE_SELECT_MAX
 * @timeout_ns  nanoseconds, GYRE_FOREVER, or 0: the default case of Go
 * Returns      the index of the case that was done, or -1: none was
 * Errors       EAGAIN     timeout_ns is 0, and none could be done
 *              ETIMEDOUT
 *              EINVAL     count is out of bounds
 * Misuse       "send on a closed channel": if such a case was chosen
 * Threads      any thread; waits in a blocking region     Signals  not async-signal-safe
 * Cost         a look at each channel; to wait, the locks of all, twice
 * Since 0.1    Source  sync/select.c; Go's select */
int gyre_select(struct gyre_case *cases, size_t count, int64_t timeout_ns);

/* ---- pool ----------------------------------------------------------------------------------- */

struct gyre_pool;

/* gyre_pool_new, gyre_pool_free - items that are kept for a while, to be used again.
 * What was put and not got again is dropped over two collections; where none happen, over two times
 * the option sync_pool_age (a minute). Each thread has items of its own, and takes those of others
 * when it has none. Items of a GYRE_TRACED pool are objects: dropping is forgetting. Those of a
 * GYRE_PLAIN one are handed to `drop`, by a thread that gets or puts.
 * @contents    GYRE_PLAIN or GYRE_TRACED
 * @make        called for an item where there is none; or NULL: then get returns NULL. Must not be
 *              called back from, but may do all else
 * @drop        called for each item that is dropped; NULL for GYRE_TRACED
 * @argument    handed to both; not traced
 * @pool        of free: NULL is nothing. Drops all items; after the pool's last use
 * Returns      the pool, or NULL
 * Errors       EINVAL  contents, or drop with GYRE_TRACED
 *              ENOMEM
 * Threads      any thread                 Signals  not async-signal-safe
 * Fork         the child has the forking thread's items
 * Cost         256 bytes, and as many for each thread that uses it; 128 for 13 items in it
 * Since 0.1    Source  sync/pool.c; Go's sync.Pool */
struct gyre_pool *gyre_pool_new(enum gyre_contents contents, void *(*make)(void *argument),
				void (*drop)(void *item, void *argument), void *argument);
void gyre_pool_free(struct gyre_pool *pool);

/* gyre_pool_get, gyre_pool_put - an item out of the pool; back into it.
 * Nothing is known of which item comes, or whether it is one that was put: items are alike.
 * @pool        not NULL
 * @item        an item; NULL is nothing
 * Returns      get: an item; what `make` returned, where there is none; or NULL
 * Errors       none; put drops the item where memory lacks
 * Threads      any thread                 Signals  not async-signal-safe
 * Cost         some 2 ns each; one in 13 takes a lock
 * Since 0.1    Source  sync/pool.c; Go's sync.Pool */
void *gyre_pool_get(struct gyre_pool *pool);
void gyre_pool_put(struct gyre_pool *pool, void *item);

/* ---- task group ----------------------------------------------------------------------------- */

struct gyre_task_group;

/* gyre_task_group_new, gyre_task_group_free - threads that work on parts of one thing.
 * free waits first, as gyre_task_group_wait does.
 * @limit       tasks that run at a time, each on a thread of its own; 0: as many as there are CPUs
 * @contents    GYRE_PLAIN; or GYRE_TRACED: the arguments of tasks are objects
 * @group       of free: NULL is nothing
 * Returns      the group, or NULL
 * Errors       ENOMEM
 * Threads      any thread                 Signals  not async-signal-safe
 * Cost         its threads are started as they are needed, and end with it
 * Since 0.1    Source  sync/task_group.c; golang.org/x/sync/errgroup */
struct gyre_task_group *gyre_task_group_new(size_t limit, enum gyre_contents contents);
void gyre_task_group_free(struct gyre_task_group *group);

/* gyre_task_group_go - have a task run on a thread of the group.
 * Waits while as many run as may. A task that returns other than 0 cancels the group, if it is the
 * first. A task may start others, but not if that has to wait for itself.
 * @group       not NULL
 * @run         the task: returns 0, or what gyre_task_group_wait shall return
 * @argument    handed to it
 * Returns      0, or -1: it will not run
 * Errors       ECANCELED  the group is cancelled
 *              EAGAIN     the group's first thread cannot be made
 * Threads      any thread; waits in a blocking region     Signals  not async-signal-safe
 * Cost         a meeting of two threads; a new thread costs some 20 us
 * Since 0.1    Source  sync/task_group.c */
int gyre_task_group_go(struct gyre_task_group *group, int (*run)(void *argument),
		       void *argument);

/* gyre_task_group_wait - wait until all tasks have returned.
 * @group       not NULL
 * Returns      0; or of what a task returned, or gyre_task_group_cancel was given, the first
 * Errors       none
 * Threads      any thread but the group's; waits in a blocking region
 * Signals      not async-signal-safe
 * Since 0.1    Source  sync/task_group.c */
int gyre_task_group_wait(struct gyre_task_group *group);

/* gyre_task_group_cancel, gyre_task_group_done - tell all tasks to stop; what tells a task.
 * Tasks look at gyre_task_group_done: a channel without elements that is closed when the group is
 * cancelled, to be used in gyre_select, or with gyre_chan_try_recv.
 * @group       not NULL
 * @error       not 0: what gyre_task_group_wait shall return, if it is the first
 * Returns      done: the channel; it goes with the group
 * Errors       none
 * Threads      any thread                 Signals  not async-signal-safe
 * Since 0.1    Source  sync/task_group.c; Go's context.Context */
void gyre_task_group_cancel(struct gyre_task_group *group, int error);
struct gyre_chan *gyre_task_group_done(struct gyre_task_group *group);

/* ---- map ------------------------------------------------------------------------------------ */

struct gyre_map;

/* gyre_map_new - a table from bytes to objects that many threads use at once.
 * It is an object: nobody frees it, and it must be held as any object is. So are its tables: a
 * reader takes no lock, and goes on in the table it has found while a larger one takes its place;
 * the collector knows when the last has left.
 * Returns      the map, or NULL
 * Errors       ENOMEM
 * Threads      any thread                 Signals  not async-signal-safe
 * Cost         some 2 KiB
 * Since 0.1    Source  sync/map.c */
struct gyre_map *gyre_map_new(void);

/* gyre_map_get - the value of a key.
 * @map         not NULL
 * @key         key_bytes of it are compared
 * @key_bytes   up to 1 GiB
 * Returns      the value, or NULL: there is none
 * Errors       none
 * Threads      any thread; never waits    Signals  not async-signal-safe
 * Cost         no lock and no store: a hash, some loads
 * Since 0.1    Source  sync/map.c */
void *gyre_map_get(struct gyre_map *map, const void *key, size_t key_bytes);

/* gyre_map_set, gyre_map_get_or_set, gyre_map_replace, gyre_map_remove - change the value of a key.
 * set stores, whatever is there. get_or_set stores where there is no value. replace stores where
 * the value is `expected`; with value NULL it removes. Each is one step, as others see it.
 * @map         not NULL
 * @key         copied
 * @key_bytes   up to 1 GiB
 * @value       an object; not NULL, but in replace
 * @expected    not NULL
 * Returns      set: 0, or -1. get_or_set: the value that is there now, or NULL. replace: whether it
 *              did. remove: the value that was there, or NULL
 * Errors       EINVAL  value NULL, key too long
 *              ENOMEM
 * Threads      any thread; waits for others that change keys of the same sixteenth of the map
 * Signals      not async-signal-safe
 * Cost         a mutex; set of a new key an object, and its share of the larger table
 * Since 0.1    Source  sync/map.c; Go's sync.Map */
int gyre_map_set(struct gyre_map *map, const void *key, size_t key_bytes, void *value);
void *gyre_map_get_or_set(struct gyre_map *map, const void *key, size_t key_bytes, void *value);
bool gyre_map_replace(struct gyre_map *map, const void *key, size_t key_bytes, void *expected,
		      void *value);
void *gyre_map_remove(struct gyre_map *map, const void *key, size_t key_bytes);

/* gyre_map_each, gyre_map_count - call a function for each key; how many there are.
 * A key that is there from begin to end comes exactly once; one that is set or removed meanwhile
 * comes once or not at all. A value is not older than the call; what the visit itself has set or
 * removed, it sees.
 * @map         not NULL
 * @visit       returns false to end; it may use the map. The key is valid until it returns
 * @argument    handed to it
 * Returns      each: nothing. count: keys, as of slightly different moments
 * Errors       none
 * Threads      any thread; never waits    Signals  not async-signal-safe
 * Cost         a walk through all of it; count: sixteen loads
 * Since 0.1    Source  sync/map.c */
void gyre_map_each(struct gyre_map *map,
		   bool (*visit)(const void *key, size_t key_bytes, void *value, void *argument),
		   void *argument);
size_t gyre_map_count(struct gyre_map *map);

/* ---- inner parts: for the inline functions only --------------------------------------------- */

extern void gyre_mutex_lock_slow(struct gyre_mutex *mutex);
extern bool gyre_mutex_try_lock_slow(struct gyre_mutex *mutex);
extern void gyre_mutex_unlock_slow(struct gyre_mutex *mutex);
extern void gyre_once_slow(struct gyre_once *once, void (*run)(void *argument), void *argument);

/* The upper half of a word in use: its own address, so that a copy is known (sync/seal.h). */
static inline uint64_t gyre_seal_(const void *at)
{
	return ((uint64_t)(uintptr_t)at << 32) + ((uint64_t)1 << 32);
}

static inline void gyre_mutex_lock(struct gyre_mutex *mutex)
{
	uint64_t expected = gyre_seal_(mutex);

	if (__builtin_expect(!__atomic_compare_exchange_n(&mutex->word, &expected, expected + 1,
							  false, __ATOMIC_ACQUIRE,
							  __ATOMIC_RELAXED),
			     0))
		gyre_mutex_lock_slow(mutex);
}

static inline bool gyre_mutex_try_lock(struct gyre_mutex *mutex)
{
	uint64_t expected = gyre_seal_(mutex);

	return __atomic_compare_exchange_n(&mutex->word, &expected, expected + 1, false,
					   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED) ||
	       gyre_mutex_try_lock_slow(mutex);
}

static inline void gyre_mutex_unlock(struct gyre_mutex *mutex)
{
	uint64_t expected = gyre_seal_(mutex) + 1;

	if (__builtin_expect(!__atomic_compare_exchange_n(&mutex->word, &expected, expected - 1,
							  false, __ATOMIC_RELEASE,
							  __ATOMIC_RELAXED),
			     0))
		gyre_mutex_unlock_slow(mutex);
}

static inline void gyre_once_do(struct gyre_once *once, void (*run)(void *argument),
				void *argument)
{
	if (__builtin_expect(!__atomic_load_n(&once->done, __ATOMIC_ACQUIRE), 0))
		gyre_once_slow(once, run, argument);
}

#ifdef __cplusplus
}
#endif

#endif
