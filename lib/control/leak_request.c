/* leak_request.c - see leak_request.h.
 *
 * LREQ-1  The request is another program's: it is copied whole before it is looked at, and taken
 *         only if nobody wrote to it meanwhile (seq).
 * LREQ-2  A request is begun once: its seq is noted under the control lock by whoever takes it.
 * LREQ-3  It is answered even if it is refused.
 */
#include "control/leak_request.h"

#include "base/compiler.h"
#include "leak/leak.h"
#include "os/sys.h"

#include <limits.h>

static uint32_t taken; /* [lock: control] LREQ-2 */

bool gy_leak_request_take(const struct gyre_control_leak *asked, struct gyre_control_leak *copy)
{
	uint32_t seq = __atomic_load_n(&asked->seq, __ATOMIC_ACQUIRE);

	if (likely(seq == taken) || seq & 1)
		return false;
	*copy = *asked; /* LREQ-1 */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (READ_RELAXED(asked->seq) != seq)
		return false;
	copy->seq = seq;
	taken = seq;
	return true;
}

void gy_leak_request_begin(struct gyre_control_leak *asked, const struct gyre_control_leak *copy)
{
	uint32_t scan = 0;
	int result = gy_leak_begin(copy, &scan);

	WRITE_RELAXED(asked->result, result);
	WRITE_RELAXED(asked->scan, scan);
	__atomic_store_n(&asked->done, copy->seq, __ATOMIC_RELEASE);
	gy_sys_futex_wake(&asked->done, INT_MAX, true);
}

void gy_leak_request_fork_child(void)
{
	taken = 0;
}
