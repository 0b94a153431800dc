/* rwmutex.c - many readers or one writer; neither starves.
 *
 *	state: bit 31  WRITER: one holds it, or waits for the readers of before to leave
 *	       else    readers: those that hold it, and those that came while WRITER was set
 *
 * As Go's. A reader adds 1; if there was no WRITER it holds the lock. If there was, it waits for
 * its turn, which the writer's unlock gives to all who came by then. A writer takes the mutex among
 * writers, then sets WRITER; of the readers there were, each that leaves counts `leaving` down,
 * and the last gives the writer its turn.
 *
 * RW-1  From WRITER set to cleared by one writer, readers that were there at the set are counted by
 *       `leaving`, which goes from 0 to their number in steps of either sign: it is 0 again exactly
 *       when the last has left after the writer has added.
 * RW-2  read_turn gets as many turns as readers waited when WRITER was cleared: each of them is in
 *       its wait, or on its way to it. The next writer's WRITER counts these as readers.
 */
#include "sync/seal.h"
#include "sync/semaphore.h"

#include <errno.h>

#define WRITER ((uint64_t)1 << 31)
#define READERS (WRITER - 1)
#define COPIED "use of a copied rwmutex"

/* The word's upper half and WRITER: is there anything but readers of ours? */
static bool is_plain(uint64_t word, const struct gyre_rwmutex *rwmutex)
{
	return (word ^ gyre_seal_(rwmutex)) >> 31 == 0;
}

GY_EXPORT void gyre_rwmutex_read_lock(struct gyre_rwmutex *rwmutex)
{
	uint64_t old = __atomic_fetch_add(&rwmutex->word, 1, __ATOMIC_ACQUIRE);

	if (likely(is_plain(old, rwmutex)))
		return;
	gy_seal_word(&rwmutex->word, rwmutex, COPIED);
	if (old & WRITER)
		gy_semaphore_acquire(&rwmutex->read_turn, 1, GYRE_FOREVER);
}

GY_EXPORT bool gyre_rwmutex_try_read_lock(struct gyre_rwmutex *rwmutex)
{
	uint64_t old = gy_seal_word(&rwmutex->word, rwmutex, COPIED);

	while (!(old & WRITER))
		if (__atomic_compare_exchange_n(&rwmutex->word, &old, old + 1, false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return true;
	return false;
}

GY_EXPORT void gyre_rwmutex_read_unlock(struct gyre_rwmutex *rwmutex)
{
	uint64_t old = __atomic_fetch_sub(&rwmutex->word, 1, __ATOMIC_ACQ_REL);

	if (likely(is_plain(old, rwmutex) && old & READERS))
		return;
	if (old >> 32 && !gy_seal_fits(old, rwmutex))
		gy_sync_misuse(COPIED, rwmutex);
	if (!(old & READERS))
		gy_sync_misuse("read unlock of an unlocked rwmutex", rwmutex);
	if (__atomic_sub_fetch(&rwmutex->leaving, 1, __ATOMIC_ACQ_REL) == 0) /* RW-1 */
		gy_semaphore_release(&rwmutex->write_turn, 1);
}

GY_EXPORT void gyre_rwmutex_write_lock(struct gyre_rwmutex *rwmutex)
{
	uint64_t readers;

	gyre_mutex_lock(&rwmutex->writer);
	gy_seal_word(&rwmutex->word, rwmutex, COPIED);
	gy_sync_step();
	readers = __atomic_fetch_or(&rwmutex->word, WRITER, __ATOMIC_ACQ_REL) & READERS;
	gy_sync_step();
	if (readers && __atomic_add_fetch(&rwmutex->leaving, readers, __ATOMIC_ACQ_REL) != 0)
		gy_semaphore_acquire(&rwmutex->write_turn, 1, GYRE_FOREVER);
	ASSERT(READ_RELAXED(rwmutex->leaving) == 0); /* RW-1 */
}

GY_EXPORT bool gyre_rwmutex_try_write_lock(struct gyre_rwmutex *rwmutex)
{
	uint64_t old;

	if (!gyre_mutex_try_lock(&rwmutex->writer))
		return false;
	old = gy_seal_word(&rwmutex->word, rwmutex, COPIED);
	while (!(old & READERS))
		if (__atomic_compare_exchange_n(&rwmutex->word, &old, old | WRITER, false,
						__ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return true;
	gyre_mutex_unlock(&rwmutex->writer);
	return false;
}

GY_EXPORT void gyre_rwmutex_write_unlock(struct gyre_rwmutex *rwmutex)
{
	uint64_t old = __atomic_fetch_and(&rwmutex->word, ~WRITER, __ATOMIC_ACQ_REL);

	if (old >> 32 && !gy_seal_fits(old, rwmutex))
		gy_sync_misuse(COPIED, rwmutex);
	if (!(old & WRITER))
		gy_sync_misuse("write unlock of an unlocked rwmutex", rwmutex);
	gy_sync_step();
	if (old & READERS) /* RW-2 */
		gy_semaphore_release(&rwmutex->read_turn, (uint32_t)(old & READERS));
	gyre_mutex_unlock(&rwmutex->writer);
}
