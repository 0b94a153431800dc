/* readable.c - may an address be read? Asked of the kernel without a descriptor, and without a fault.
 *
 * rt_sigprocmask with an unknown `how` copies the new mask in before it looks at `how`: EFAULT says
 * that the eight bytes cannot be read, EINVAL that they can; nothing is changed either way.
 */
#include "measure.h"

enum { CALLS = 10000 };

static int ask(const void *address)
{
	return syscall(SYS_rt_sigprocmask, -1, address, NULL, 8) ? errno : 0;
}

static double time_ask(const void *address)
{
	struct samples samples = {0};

	for (int i = 0; i < REPEATS; i++) {
		double begin = now_us();

		for (int k = 0; k < CALLS; k++)
			ask(address);
		sample_add(&samples, (now_us() - begin) / CALLS);
	}
	return sample_median(&samples);
}

int main(void)
{
	char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec local = {0}, remote = {0};
	struct samples samples = {0};
	char buffer[8], word[8] = {1};

	report_machine();
	report_text("a word of the stack", ask(word) == EINVAL ? "EINVAL: readable" : "UNEXPECTED");
	report_text("a page without rights", ask(page) == EFAULT ? "EFAULT" : "UNEXPECTED");
	report("readable", time_ask(word), "us");
	report("not readable", time_ask(page), "us");
	local = (struct iovec){buffer, 8};
	remote = (struct iovec){word, 8};
	for (int i = 0; i < 200; i++) {
		double begin = now_us();

		syscall(SYS_process_vm_readv, getpid(), &local, 1, &remote, 1, 0);
		sample_add(&samples, now_us() - begin);
	}
	report("process_vm_readv of the same word", sample_median(&samples), "us");
	return 0;
}
