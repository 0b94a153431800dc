/* once.c - something that is done once.
 *
 * The fast half, in gyre/sync.h, is an acquire load. Here one thread runs the function under the
 * mutex, the others wait for that; `done` is stored after it has returned, with release.
 *
 * ONCE-1  done is 0, then 1 for ever; whoever sees the 1 sees what the function did.
 * ONCE-2  runner is the thread that is within the function: its call would wait for itself.
 */
#include "os/sys.h"
#include "sync/seal.h"

GY_EXPORT void gyre_once_slow(struct gyre_once *once, void (*run)(void *argument), void *argument)
{
	uint32_t self = (uint32_t)gy_sys_gettid();

	if (READ_RELAXED(once->runner) == self)
		gy_sync_misuse("call from its own function of a once", once);
	gyre_mutex_lock(&once->mutex);
	if (!READ_RELAXED(once->done)) {
		WRITE_RELAXED(once->runner, self);
		run(argument);
		WRITE_RELAXED(once->runner, 0);
		__atomic_store_n(&once->done, 1, __ATOMIC_RELEASE);
	}
	gyre_mutex_unlock(&once->mutex);
}
