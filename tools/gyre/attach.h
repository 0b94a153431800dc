/* attach.h - eBPF programs on the places of a target's probes.
 *
 * There are two ways to hang a program on a uprobe:
 *
 *      multi   a link made by bpf(2) (BPF_TRACE_UPROBE_MULTI, Linux 6.6): CAP_BPF and CAP_PERFMON
 *      perf    a perf event, and the program on it: CAP_SYS_ADMIN as well
 *
 * A program is loaded for one of the two, so the way is chosen before: multi where the kernel has
 * it, and has it right. The environment variable GYRE_ATTACH names one against that, for tests and
 * for a kernel whose multi does not work.
 *
 * ATTACH-1  What a link holds, it holds by a file descriptor: breakpoint and semaphore (the
 *           kernel's own reference counter, ref_ctr_offset) go with it, however we end.
 * ATTACH-2  How a place passes its arguments is its note's to say (notes.h). The programs find it,
 *           and our cookie, in the map gyre_places by the number that is the link's own cookie.
 */
#ifndef GYRE_TOOLS_ATTACH_H
#define GYRE_TOOLS_ATTACH_H

#include <bpf/libbpf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "events.h"
#include "notes.h"

enum gy_attach_way { ATTACH_PERF, ATTACH_MULTI };

/* struct gy_link - one place with a program on it. */
struct gy_link {
	struct bpf_link *perf; /* NULL: by fd */
	int fd;
};

/* gy_attach_multi_works - try it, with a program of two instructions. 1, 0, or -errno where our
 * rights do not let us. */
int gy_attach_multi_works(void);
/* gy_attach_way - found out once. */
enum gy_attach_way gy_attach_way(void);
/* gy_attach_prepare - before load. */
void gy_attach_prepare(struct bpf_object *object, bool sleepable);

/* gy_attach - hang a program on a place.
 * @object, @program  loaded; the object has the map gyre_places
 * @number            of the place, below GYRE_PLACES, no other's of this object
 * @path              the file, as we can open it
 * @cookie            what the program is told
 * Returns            0 or -errno */
int gy_attach(struct gy_link *link, const struct bpf_object *object,
	      const struct bpf_program *program, uint32_t number, int pid, const char *path,
	      const struct gy_note *note, uint64_t cookie);
void gy_detach(struct gy_link *link);

#endif
