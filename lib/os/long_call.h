/* long_call.h - work of the kernel's that takes long, kept apart from stops of the world.
 *
 * To clear a huge page, or to make one of small pages, takes the kernel from a quarter of a
 * millisecond to several, and meanwhile it neither delivers a signal nor lets go of the processor;
 * making one also holds up every thread that faults. A stop that comes at such a moment lasts as
 * long. So whoever has such work to do says so, and does not begin it once a stop is about to
 * begin; and the stop begins when what was under way is done. It does not wait for ever: it is only
 * about time.
 *
 * LONG-1  begin raises `running`, then reads `barred`; bar raises `barred`, then reads `running`.
 * LONG-2  Who could not be stopped while it waits does not wait: a thread of the program's that
 *         holds a lock (LOCK-3).
 */
#ifndef GY_OS_LONG_CALL_H
#define GY_OS_LONG_CALL_H

#include "base/compiler.h"

#include <stdint.h>

/* Any thread, around the work. */
void gy_long_begin(void);
void gy_long_end(void);
/* One thread at a time. Returns when no work is under way, or after patience_ns. */
void gy_long_bar(uint64_t patience_ns);
void gy_long_unbar(void);
void gy_long_fork_child(void);

#endif
