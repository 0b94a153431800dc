/* setting.c - changing an option of the running process.
 *
 * Two ways lead here: gyre_option_set, and an observer's request in the control page. Most options
 * are looked up where they are used, so that a change needs no more than the new number. A few were
 * taken over by their users at the start: they are told.
 *
 * SET-1  The request is another program's: it is copied before it is looked at, and only a text
 *        that GYRE_OPTIONS would have taken, for an option that may change, has an effect.
 * SET-2  A request is carried out once, by whoever publishes first, and answered even if refused:
 *        an observer need not guess. One that is being written is left for the next snapshot.
 * SET-3  What a change brings with it allocates nothing and waits for nobody: it may run inside an
 *        allocation of the program. It takes locks behind the control page's alone.
 */
#include "control/setting.h"

#include "gc/pacer.h"

#include <gyre/gc.h>
#include <limits.h>
#include <string.h>

/* What users of the option keep of it. Before the collector's start the pacer has nothing yet, and
 * reads the options when it begins. */
static void tell(enum gy_option_id id)
{
	uint64_t value = gy_option(id);

	if (!gy_pacer_is_ready())
		return;
	switch ((int)id) {
	case GY_OPT_gc_percent:
		gy_pacer_set_percent(value ? (int)MIN(value, INT_MAX) : -1);
		break;
	case GY_OPT_gc_memory_limit:
		gy_pacer_set_limit(value);
		break;
	case GY_OPT_gc_minimum:
	case GY_OPT_memory_limit:
		gy_pacer_refresh();
		break;
	default:
		break;
	}
}

int gy_setting_change(enum gy_option_id id, uint64_t value)
{
	int error = gy_config_set(id, value);

	if (!error)
		tell(id);
	return error;
}

void gy_setting_take(struct gyre_control_setting *setting)
{
	uint32_t seq = __atomic_load_n(&setting->seq, __ATOMIC_ACQUIRE);
	struct gyre_control_setting copy;
	int id;

	if (likely(seq == READ_RELAXED(setting->done)) || seq & 1)
		return;
	copy = *setting; /* SET-1 */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	if (READ_RELAXED(setting->seq) != seq)
		return; /* SET-2 */
	copy.name[sizeof(copy.name) - 1] = '\0';
	copy.value[sizeof(copy.value) - 1] = '\0';
	id = gy_config_change(copy.name, copy.value);
	if (id >= 0)
		tell((enum gy_option_id)id);
	WRITE_RELAXED(setting->result, MIN(id, 0));
	__atomic_store_n(&setting->done, seq, __ATOMIC_RELEASE);
}
