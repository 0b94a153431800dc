/* pprof.h - a profile as a file that `go tool pprof` and its like open. */
#ifndef GYRE_TOOLS_PPROF_H
#define GYRE_TOOLS_PPROF_H

#include <stddef.h>
#include <stdint.h>

#include "profile_model.h"

/* gy_pprof_make - the bytes of the file: profile.proto, compressed by gzip. Symbols have been
 * resolved.
 * Returns  0 with *bytes to be freed, or -ENOMEM */
int gy_pprof_make(const struct gy_profile *profile, uint8_t **bytes, size_t *length);

#endif
