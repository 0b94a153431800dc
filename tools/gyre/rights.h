/* rights.h - which of the kernel's capabilities we hold, and which a refusal was for lack of. */
#ifndef GYRE_TOOLS_RIGHTS_H
#define GYRE_TOOLS_RIGHTS_H

#include <linux/capability.h>
#include <stdbool.h>
#include <stddef.h>

/* gy_rights_have - @capability is CAP_...; CAP_SYS_ADMIN counts for CAP_BPF, CAP_PERFMON and
 * CAP_CHECKPOINT_RESTORE, which were cut out of it. RIGHTS-1. */
bool gy_rights_have(unsigned int capability);
/* gy_rights_load_lack - of what loading tracing programs takes: "CAP_BPF and CAP_PERFMON lack", one
 * of the two, or "" if none does. */
const char *gy_rights_load_lack(void);
/* gy_rights_ask_lack - the end of a sentence about a process that cannot be asked: "; it takes its
 * owner or CAP_DAC_OVERRIDE", or "" where that is not the reason. */
const char *gy_rights_ask_lack(void);

#endif
