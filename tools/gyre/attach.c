/* attach.c - see attach.h.
 *
 * libbpf could do a part of this, but only newer ones know links of the multi kind, and then the
 * choice of the way, and how arguments are found, would be theirs and differ from one to the next.
 * Gyre's own probes need little: 64-bit integers (probes.def) that lie in registers or in memory.
 *
 * The layout of the command's argument is the kernel's ABI (include/uapi/linux/bpf.h), written down
 * here because the system's header may be older than its kernel.
 */
#include "attach.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "place.h"

#define UPROBE_MULTI 48 /* enum bpf_attach_type: BPF_TRACE_UPROBE_MULTI */

struct link_create {
	uint32_t program_fd, target_fd, attach_type, flags;
	uint64_t path, offsets, semaphores, cookies; /* addresses */
	uint32_t count, multi_flags, pid, spare;
};

/* ---------------------------------------------------------------- the two ways */

static int multi_create(int program_fd, int pid, const char *path, uint64_t offset,
			uint64_t semaphore, uint64_t cookie)
{
	const struct link_create create = {
		.program_fd = (uint32_t)program_fd,
		.attach_type = UPROBE_MULTI,
		.path = (uintptr_t)path,
		.offsets = (uintptr_t)&offset,
		.semaphores = (uintptr_t)&semaphore,
		.cookies = (uintptr_t)&cookie,
		.count = 1,
		.pid = (uint32_t)pid,
	};
	int fd = (int)syscall(SYS_bpf, BPF_LINK_CREATE, &create, sizeof(create));

	return fd < 0 ? -errno : fd;
}

/* Two questions that must fail, each in its way: a folder is no file with places (EBADF, if the
 * kernel came so far), and there is no process -1 (EINVAL, before it looks at the path, since it
 * tells processes from threads: before, only a process's first thread was traced). */
int gy_attach_multi_works(void)
{
	const struct bpf_insn program[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options,
		    .expected_attach_type = (enum bpf_attach_type)UPROBE_MULTI);
	int fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "gyre_way", "GPL", program, 2, &options);
	int works;

	if (fd < 0)
		return errno == EPERM || errno == EACCES ? -errno : 0;
	works = multi_create(fd, 0, "/", 0, 0, 0) == -EBADF &&
		multi_create(fd, -1, "/", 0, 0, 0) == -EINVAL;
	close(fd);
	return works;
}

enum gy_attach_way gy_attach_way(void)
{
	static int way = -1;
	const char *wanted = getenv("GYRE_ATTACH");

	if (way >= 0)
		return (enum gy_attach_way)way;
	if (wanted && !strcmp(wanted, "perf"))
		way = ATTACH_PERF;
	else if (wanted && !strcmp(wanted, "multi"))
		way = ATTACH_MULTI;
	else
		way = gy_attach_multi_works() > 0 ? ATTACH_MULTI : ATTACH_PERF;
	return (enum gy_attach_way)way;
}

void gy_attach_prepare(struct bpf_object *object, bool sleepable)
{
	bool multi = gy_attach_way() == ATTACH_MULTI;
	struct bpf_program *program;

	bpf_object__for_each_program(program, object)
	{
		if (multi)
			bpf_program__set_expected_attach_type(program,
							      (enum bpf_attach_type)UPROBE_MULTI);
		if (sleepable)
			bpf_program__set_flags(program, BPF_F_SLEEPABLE);
	}
}

/* ---------------------------------------------------------------- attach, detach */

int gy_attach(struct gy_link *link, const struct bpf_object *object,
	      const struct bpf_program *program, uint32_t number, int pid, const char *path,
	      const struct gy_note *note, uint64_t cookie)
{
	LIBBPF_OPTS(bpf_uprobe_opts, options, .ref_ctr_offset = note->semaphore_offset,
		    .bpf_cookie = number);
	int places = bpf_object__find_map_fd_by_name(object, "gyre_places");
	struct gyre_place place;
	int error = gy_place_parse(note->arguments, &place);

	if (error)
		return error;
	place.cookie = cookie;
	error = bpf_map_update_elem(places, &number, &place, BPF_ANY);
	if (error)
		return error;
	*link = (struct gy_link){.fd = -1};
	if (gy_attach_way() == ATTACH_MULTI) {
		link->fd = multi_create(bpf_program__fd(program), pid, path, note->site_offset,
					note->semaphore_offset, number);
		return link->fd < 0 ? link->fd : 0;
	}
	link->perf = bpf_program__attach_uprobe_opts(program, pid, path, note->site_offset,
						     &options);
	return link->perf ? 0 : -errno;
}

void gy_detach(struct gy_link *link)
{
	if (link->perf)
		bpf_link__destroy(link->perf);
	else if (link->fd >= 0)
		close(link->fd);
	*link = (struct gy_link){.fd = -1};
}
