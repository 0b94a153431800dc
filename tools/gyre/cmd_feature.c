/* cmd_feature.c - `gyre feature probe`: what this kernel, and our rights, allow Gyre to do.
 *
 * Each line is found by trying, not by the kernel's version: distributions carry features back and
 * switch others off. What trying would change is looked up instead. Sections:
 *
 *      tracing   what the commands that attach eBPF need
 *      rights    what of it we may use
 *      memory    what the library uses in the processes
 *      process   with a PROC: what is in it, and whether we can reach it
 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/io_uring.h>
#include <linux/membarrier.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "attach.h"
#include "control.h"
#include "notes.h"
#include "output.h"
#include "probes.h"
#include "rights.h"
#include "target.h"
#include "words.h"

/* libc's headers may be older than the kernel. */
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

/* ---------------------------------------------------------------- saying it */

static void section_begin(const char *key, const char *title)
{
	gy_out_begin(key, NULL);
	if (!gy_out_is_json())
		gy_out_line("%s", title);
}

/* available < 0: it could not be found out, for lack of rights. */
static void feature(const char *key, const char *label, int available, const char *note)
{
	if (gy_out_is_json()) {
		gy_out_json(key, available < 0 ? json_null() : json_boolean(available));
		return;
	}
	gy_out_line("  %s %s%s%s", label,
		    available > 0 ? "is available"
		    : available   ? "cannot be told without privilege"
				  : "is NOT available",
		    note ? ": " : "", note ? note : "");
}

static void setting(const char *key, const char *label, const char *value)
{
	if (gy_out_is_json())
		gy_out_text(key, NULL, value);
	else
		gy_out_line("  %s is %s", label, value);
}

/* The first line of a small file; false where there is none. */
static bool file_line(const char *path, char *text, size_t bytes)
{
	FILE *file = fopen(path, "re");
	bool got = file && fgets(text, (int)bytes, file);

	if (file)
		fclose(file);
	if (!got)
		return false;
	text[strcspn(text, "\n")] = 0;
	gy_out_clean(text);
	return true;
}

/* ---------------------------------------------------------------- tracing */

/* libbpf's own probes take a refusal for an answer: ask about our rights first. */
static int may_know(int result)
{
	if (*gy_rights_load_lack())
		return -1;
	return result == -EPERM || result == -EACCES ? -1 : result > 0;
}

/* Loads the smallest program, `return 0`, with flags that a kernel may not know. */
static int probe_load(__u32 flags, enum bpf_attach_type attach)
{
	const struct bpf_insn program[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0},
		{.code = BPF_JMP | BPF_EXIT},
	};
	LIBBPF_OPTS(bpf_prog_load_opts, options, .prog_flags = flags,
		    .expected_attach_type = attach);
	int fd = bpf_prog_load(BPF_PROG_TYPE_KPROBE, "gyre_feature", "GPL", program, 2, &options);

	if (fd < 0)
		return may_know(-errno);
	close(fd);
	return 1;
}

/* A tracepoint shows in tracefs, which may not be mounted, and in BTF as btf_trace_NAME. */
static int probe_tracepoint(const struct btf *btf, const char *group, const char *name)
{
	char text[128];

	snprintf(text, sizeof(text), "/sys/kernel/tracing/events/%s/%s/id", group, name);
	if (!access(text, F_OK))
		return 1;
	snprintf(text, sizeof(text), "btf_trace_%s", name);
	return btf ? btf__find_by_name_kind(btf, text, BTF_KIND_TYPEDEF) > 0 : 0;
}

static void scan_tracing(void)
{
	struct btf *btf = btf__load_vmlinux_btf();
	int kprobe = may_know(libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_KPROBE, NULL));
	int multi = gy_attach_multi_works();

	section_begin("tracing", "Scanning what tracing needs...");
	feature("bpf_programs", "eBPF program type kprobe", kprobe, NULL);
	feature("uprobes", "uprobe events",
		!access("/sys/bus/event_source/devices/uprobe/type", F_OK), NULL);
	feature("usdt_semaphores", "USDT semaphores (ref_ctr_offset)",
		!access("/sys/bus/event_source/devices/uprobe/format/ref_ctr_offset", F_OK), NULL);
	feature("btf", "BTF of the kernel", btf != NULL, NULL);
	feature("ringbuf", "eBPF map type ringbuf",
		may_know(libbpf_probe_bpf_map_type(BPF_MAP_TYPE_RINGBUF, NULL)), NULL);
	feature("bpf_loop", "eBPF helper bpf_loop",
		may_know(libbpf_probe_bpf_helper(BPF_PROG_TYPE_KPROBE, BPF_FUNC_loop, NULL)), NULL);
	feature("attach_cookie", "eBPF helper bpf_get_attach_cookie",
		may_know(libbpf_probe_bpf_helper(BPF_PROG_TYPE_KPROBE, BPF_FUNC_get_attach_cookie,
						 NULL)),
		NULL);
	feature("pid_namespaces", "eBPF helper bpf_get_ns_current_pid_tgid",
		may_know(libbpf_probe_bpf_helper(BPF_PROG_TYPE_KPROBE,
						 BPF_FUNC_get_ns_current_pid_tgid, NULL)),
		NULL);
	feature("sleepable_uprobes", "eBPF flag sleepable for uprobes",
		probe_load(BPF_F_SLEEPABLE, 0), NULL);
	feature("uprobe_multi", "eBPF link of uprobes (uprobe_multi)", multi < 0 ? -1 : multi,
		NULL);
	feature("tracepoint_oom", "tracepoint oom:mark_victim",
		probe_tracepoint(btf, "oom", "mark_victim"), NULL);
	feature("tracepoint_signal", "tracepoint signal:signal_deliver",
		probe_tracepoint(btf, "signal", "signal_deliver"), NULL);
	gy_out_end();
	btf__free(btf);
}

/* ---------------------------------------------------------------- rights */

static void sysctl_out(const char *key, const char *label, const char *path, const char *missing)
{
	char text[128];
	bool known = file_line(path, text, sizeof(text));

	if (gy_out_is_json())
		gy_out_json(key, known ? json_integer(strtoll(text, NULL, 10)) : json_null());
	else
		setting(key, label, known ? text : missing);
}

/* "always [madvise] never": in JSON only the word that holds. */
static void choice_out(const char *key, const char *label, const char *path)
{
	char text[128], *chosen, *end;

	if (!file_line(path, text, sizeof(text))) {
		gy_out_json(key, json_null());
		gy_out_line("  %s is absent", label);
		return;
	}
	chosen = strchr(text, '[');
	end = chosen ? strchr(chosen, ']') : NULL;
	if (gy_out_is_json() && end) {
		*end = 0;
		gy_out_text(key, NULL, chosen + 1);
	} else {
		setting(key, label, text);
	}
}

/* What it comes to. */
static void can_out(void)
{
	bool load = !*gy_rights_load_lack();
	bool attach = gy_attach_way() == ATTACH_MULTI || gy_rights_have(CAP_SYS_ADMIN);
	bool others = gy_rights_have(CAP_SYS_PTRACE);
	bool ask = others && gy_rights_have(CAP_DAC_OVERRIDE);

	feature("trace_own", "tracing our own processes", load && attach,
		load && attach ? NULL
		: load	       ? "CAP_SYS_ADMIN lacks (and uprobe_multi)"
			       : gy_rights_load_lack());
	feature("read_others", "reading others' control pages", others,
		others ? NULL : "CAP_SYS_PTRACE lacks");
	feature("ask_others", "fresh numbers, events and options of others' processes", ask,
		ask	 ? NULL
		: others ? "CAP_DAC_OVERRIDE lacks"
			 : "CAP_SYS_PTRACE lacks");
}

static void scan_rights(void)
{
	section_begin("rights", "Scanning our rights...");
	gy_out_json("root", json_boolean(geteuid() == 0));
	gy_out_line("  user is %sroot", geteuid() ? "not " : "");
	feature("cap_bpf", "CAP_BPF (load programs)", gy_rights_have(CAP_BPF), NULL);
	feature("cap_perfmon", "CAP_PERFMON (load programs that trace)",
		gy_rights_have(CAP_PERFMON), NULL);
	feature("cap_sys_admin", "CAP_SYS_ADMIN (attach without uprobe_multi)",
		gy_rights_have(CAP_SYS_ADMIN), NULL);
	feature("cap_sys_ptrace", "CAP_SYS_PTRACE (look into others' processes)",
		gy_rights_have(CAP_SYS_PTRACE), NULL);
	feature("cap_dac_override", "CAP_DAC_OVERRIDE (ask others' processes)",
		gy_rights_have(CAP_DAC_OVERRIDE), NULL);
	feature("cap_checkpoint_restore", "CAP_CHECKPOINT_RESTORE (map_files: deleted programs)",
		gy_rights_have(CAP_CHECKPOINT_RESTORE), NULL);
	can_out();
	sysctl_out("yama_ptrace_scope", "kernel.yama.ptrace_scope",
		   "/proc/sys/kernel/yama/ptrace_scope", "absent (no Yama)");
	sysctl_out("perf_event_paranoid", "kernel.perf_event_paranoid",
		   "/proc/sys/kernel/perf_event_paranoid", "absent");
	sysctl_out("unprivileged_bpf_disabled", "kernel.unprivileged_bpf_disabled",
		   "/proc/sys/kernel/unprivileged_bpf_disabled", "absent");
	gy_out_end();
}

/* ---------------------------------------------------------------- memory */

/* The library advises itself; kernels before 6.13 allow only some advice on oneself. */
static int probe_process_madvise(void)
{
	size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec range = {page, bytes};
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0), available;

	if (page == MAP_FAILED)
		return 0;
	available = self >= 0 && syscall(SYS_process_madvise, self, &range, 1UL, MADV_DONTNEED,
					 0) == (long)bytes;
	if (self >= 0)
		close(self);
	munmap(page, bytes);
	return available;
}

static int probe_io_uring(void)
{
	struct io_uring_params parameters = {0};
	int fd = (int)syscall(SYS_io_uring_setup, 1, &parameters);

	if (fd < 0)
		return 0;
	close(fd);
	return 1;
}

static int probe_memfd(void)
{
	int fd = memfd_create("gyre-feature", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int available = fd >= 0 && !ftruncate(fd, 4096) &&
			!fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);

	if (fd >= 0)
		close(fd);
	return available;
}

static void scan_memory(void)
{
	long barriers = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	section_begin("memory", "Scanning what the library uses...");
	feature("process_madvise", "process_madvise(MADV_DONTNEED) on oneself",
		probe_process_madvise(), NULL);
	feature("io_uring", "io_uring", probe_io_uring(), NULL);
	feature("memfd_seals", "memfd with seals (control page)", probe_memfd(), NULL);
	feature("membarrier", "membarrier, private expedited",
		barriers > 0 && (barriers & MEMBARRIER_CMD_PRIVATE_EXPEDITED), NULL);
	feature("membarrier_rseq", "membarrier, restartable sequences",
		barriers > 0 && (barriers & MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ), NULL);
	choice_out("thp_enabled", "transparent huge pages, enabled",
		   "/sys/kernel/mm/transparent_hugepage/enabled");
	choice_out("thp_defrag", "transparent huge pages, defrag",
		   "/sys/kernel/mm/transparent_hugepage/defrag");
	gy_out_end();
}

/* ---------------------------------------------------------------- one process */

static void scan_probes(const struct gy_target *target)
{
	struct gy_note *notes = calloc(GY_NOTES_MAX, sizeof(*notes));
	char text[GY_OUT_TEXT];
	size_t found = 0;

	if (!notes)
		return;
	for (size_t probe = 0; probe < gy_probe_count; probe++) {
		bool here = false;

		for (size_t i = 0; !here && i < target->image_count; i++) {
			int count = gy_notes_read(target->images[i].open_path, notes, GY_NOTES_MAX);

			for (int j = 0; j < count; j++)
				here |= !strcmp(notes[j].name, gy_probes[probe].name);
		}
		found += here;
	}
	free(notes);
	if (gy_out_is_json()) {
		gy_out_u64("probes_found", NULL, OUT_COUNT, found);
		gy_out_u64("probes_known", NULL, OUT_COUNT, gy_probe_count);
		return;
	}
	snprintf(text, sizeof(text), "%zu of %zu found", found, gy_probe_count);
	gy_out_line("  probes: %s", text);
	for (size_t i = 0; i < target->image_count; i++)
		gy_out_line("    in %s", target->images[i].name);
}

static void scan_process(struct gy_target *target)
{
	struct gy_snapshot snapshot;
	int error = target->control_error;
	char title[128];
	uint64_t word;

	snprintf(title, sizeof(title), "Scanning process %d (%s)...", target->pid, target->comm);
	section_begin("process", title);
	if (gy_out_is_json()) {
		gy_out_u64("pid", NULL, OUT_COUNT, (uint64_t)target->pid);
		gy_out_text("comm", NULL, target->comm);
	}
	if (target->control)
		error = gy_control_read(target->control, 500, &snapshot);
	feature("control_page", "control page", !error,
		error ? gy_control_error(error) : gy_control_way_name(target->control));
	if (!error) {
		feature("fresh_snapshot", "a fresh snapshot on demand", snapshot.fresh, NULL);
		if (gy_out_is_json())
			gy_out_u64("control_abi", NULL, OUT_COUNT, snapshot.header.abi);
		else
			gy_out_line("  control page ABI is %u; this command knows %u",
				    snapshot.header.abi, GYRE_CONTROL_ABI);
		setting("version", "Gyre's version", snapshot.header.version);
		/* A byte of the heap's range proves the right to read memory, whatever is there. */
		error = gy_memory_read(target->pid, snapshot.header.heap_base, &word, sizeof(word));
		feature("memory_readable", "reading its memory (ptrace rights)",
			error != -EPERM && error != -EACCES && error != -ESRCH, NULL);
		gy_snapshot_free(&snapshot);
	}
	scan_probes(target);
	gy_out_end();
}

/* ---------------------------------------------------------------- commands */

static int cmd_scan(int argc, char **argv)
{
	bool with_target = argc > 0;
	struct gy_target target;
	struct utsname kernel;

	if (with_target && gy_target_arguments(&argc, &argv, &target, TARGET_ANY))
		return -1;
	if (gy_words_end(argc, argv)) {
		if (with_target)
			gy_target_close(&target);
		return -1;
	}
	uname(&kernel);
	gy_out_begin(NULL, NULL);
	if (gy_out_is_json())
		gy_out_text("kernel", NULL, kernel.release);
	else
		gy_out_line("Linux %s, %s", kernel.release, kernel.machine);
	scan_tracing();
	scan_rights();
	scan_memory();
	if (with_target) {
		scan_process(&target);
		gy_target_close(&target);
	}
	gy_out_end();
	return 0;
}

static int cmd_feature_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	if (gy_out_is_json())
		return 0;
	fprintf(stderr, "Usage: gyre feature probe [PROC]\n"
			"       gyre feature help\n"
			"\n"
			"       " GY_HELP_PROC "\n"
			"       " GY_HELP_OPTIONS "\n");
	return 0;
}

static const struct gy_command commands[] = {
	{"probe", cmd_scan},
	{"help", cmd_feature_help},
	{NULL, NULL},
};

int gy_cmd_feature(int argc, char **argv)
{
	return gy_words_run(commands, "feature", argc, argv, cmd_feature_help);
}
