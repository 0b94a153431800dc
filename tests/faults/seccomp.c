/* seccomp.c - runs a program in which some system calls are refused, as container profiles do.
 *
 *   seccomp ERRNO CALL[,CALL ...] COMMAND [ARGUMENT ...]
 *
 * CALL may be `mprotect_rw`: mprotect that makes memory writable (the loader's own, which takes the
 * write right away, goes through). Unlike the library's own fault injection this needs nothing of
 * the library's, and it also fails calls that the library might make past its wrappers.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif

static const struct {
	const char *name;
	unsigned number;
} calls[] = {
	{"mremap", SYS_mremap},
	{"madvise", SYS_madvise},
	{"process_madvise", SYS_process_madvise},
	{"membarrier", SYS_membarrier},
	{"memfd_create", SYS_memfd_create},
	{"ftruncate", SYS_ftruncate},
	{"fcntl", SYS_fcntl},
	{"pidfd_open", SYS_pidfd_open},
	{"io_uring_setup", SYS_io_uring_setup},
	{"io_uring_enter", SYS_io_uring_enter},
	{"prlimit64", SYS_prlimit64},
	{"clone3", SYS_clone3},
	{"rseq", SYS_rseq},
	{"mprotect_rw", SYS_mprotect},
};

static struct sock_filter filter[200];
static unsigned short length;

static void add(unsigned short code, unsigned k, unsigned char yes, unsigned char no)
{
	filter[length++] = (struct sock_filter){.code = code, .jt = yes, .jf = no, .k = k};
}

static int add_call(const char *name, unsigned error)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (strcmp(calls[i].name, name))
			continue;
		add(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
		if (!strcmp(name, "mprotect_rw")) {
			add(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, 0, 3);
			add(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2]), 0, 0);
			add(BPF_JMP | BPF_JSET | BPF_K, PROT_WRITE, 0, 1);
		} else {
			add(BPF_JMP | BPF_JEQ | BPF_K, calls[i].number, 0, 1);
		}
		add(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error, 0, 0);
		return 0;
	}
	fprintf(stderr, "seccomp: no call %s\n", name);
	return 2;
}

int main(int argc, char **argv)
{
	struct sock_fprog program = {.filter = filter};
	char *name;

	if (argc < 4) {
		fprintf(stderr, "usage: seccomp ERRNO CALL[,CALL] COMMAND [ARGUMENT ...]\n");
		return 2;
	}
	for (name = strtok(argv[2], ","); name; name = strtok(NULL, ","))
		if (add_call(name, (unsigned)atoi(argv[1])))
			return 2;
	add(BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
	program.len = length;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
		perror("seccomp");
		return 3;
	}
	execvp(argv[3], argv + 3);
	perror(argv[3]);
	return 127;
}
