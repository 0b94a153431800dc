/* release_uring.h - the io_uring back end of release.h. */
#ifndef GY_OS_RELEASE_URING_H
#define GY_OS_RELEASE_URING_H

#include "base/compiler.h"

#include <sys/uio.h>

/* Opens liburing and a ring, once; may allocate. */
void gy_release_uring_open(void);
int gy_release_uring_advise(const struct iovec *ranges, unsigned count, int advice,
			    uint64_t *calls);
void gy_release_uring_forget(void);

#endif
