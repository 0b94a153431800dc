/* rights.c - see rights.h.
 *
 * What takes which capability (measured on Linux 6.18; kernel-notes/uprobes.md):
 *
 *      one's own process: its page, its memory      none
 *      another's: the page as it was last written   CAP_SYS_PTRACE
 *      another's: asking for fresh numbers, for     CAP_SYS_PTRACE and CAP_DAC_OVERRIDE: the folder
 *      a collection, for another option             of its descriptors is its owner's
 *      loading programs that trace                  CAP_BPF and CAP_PERFMON
 *      attaching them to a uprobe (attach.h)        nothing more by a link of uprobes (Linux 6.6),
 *                                                   CAP_SYS_ADMIN by a perf event
 *
 * RIGHTS-1  Beyond the first user namespace the kernel's refusals concern that one's capabilities,
 *           whatever /proc/self/status says: there we have none of those that tracing takes.
 */
#include "rights.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FIRST_USER_NAMESPACE 0xeffffffdu /* its inode: PROC_USER_INIT_INO, part of the ABI */

static uint64_t effective(void)
{
	static uint64_t capabilities;
	static bool known;
	char line[256];
	FILE *status;

	if (known)
		return capabilities;
	status = fopen("/proc/self/status", "re");
	while (status && fgets(line, sizeof(line), status))
		if (!strncmp(line, "CapEff:", 7))
			capabilities = strtoull(line + 7, NULL, 16);
	if (status)
		fclose(status);
	known = true;
	return capabilities;
}

static bool first_user_namespace(void)
{
	struct stat status;

	return stat("/proc/self/ns/user", &status) || status.st_ino == FIRST_USER_NAMESPACE;
}

bool gy_rights_have(unsigned int capability)
{
	bool part = capability == CAP_BPF || capability == CAP_PERFMON ||
		    capability == CAP_CHECKPOINT_RESTORE;

	if ((part || capability == CAP_SYS_ADMIN) && !first_user_namespace())
		return false;
	return (effective() >> capability & 1) || (part && effective() >> CAP_SYS_ADMIN & 1);
}

const char *gy_rights_load_lack(void)
{
	bool bpf = gy_rights_have(CAP_BPF), perfmon = gy_rights_have(CAP_PERFMON);

	if (!bpf && !perfmon)
		return "CAP_BPF and CAP_PERFMON lack";
	return !bpf ? "CAP_BPF lacks" : !perfmon ? "CAP_PERFMON lacks" : "";
}

const char *gy_rights_ask_lack(void)
{
	return gy_rights_have(CAP_DAC_OVERRIDE) ? "" : "; it takes its owner or CAP_DAC_OVERRIDE";
}
