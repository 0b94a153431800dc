/* clock.h - time, for those who need nothing else of os/sys.h. */
#ifndef GY_OS_CLOCK_H
#define GY_OS_CLOCK_H

#include <stdint.h>

uint64_t gy_now_ns(void); /* CLOCK_MONOTONIC */

#endif
