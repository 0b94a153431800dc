/* uprobes.c - what a USDT probe costs: untraced, with its semaphore tested, and traced.
 *
 * The program traces itself through perf_event_open's uprobe source, with the semaphore's place in
 * the file as the reference counter, as libbpf and bpftrace do. No eBPF program is attached: the
 * figure is the trap alone, which is what every tracer pays. It also shows what the kernel writes
 * over the one-byte nop, and that the semaphore goes up and comes down.
 */
#include "measure.h"
#include "place.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>

/* A probe site as sys/sdt.h makes one: a nop, and a 16-bit semaphore in a section of its own. */
static volatile unsigned short semaphore __attribute__((section(".probes")));
extern const volatile unsigned char probe_site[];

__attribute__((noinline)) static void probe_plain(void)
{
	__asm__ volatile("");
}

__attribute__((noinline)) static void probe_fire(void)
{
	__asm__ volatile(".globl probe_site\nprobe_site: nop");
}

__attribute__((noinline)) static void probe_guarded(void)
{
	if (semaphore)
		probe_fire();
}

static double time_calls(void (*function)(void), long calls)
{
	double begin = now_us();

	for (long i = 0; i < calls; i++)
		function();
	return (now_us() - begin) * 1000 / (double)calls;
}

static double best_of(void (*function)(void), long calls)
{
	double best = 1e9;

	for (int i = 0; i < REPEATS; i++) {
		double took = time_calls(function, calls);

		best = took < best ? took : best;
	}
	return best;
}

static int attach(uint64_t site, uint64_t reference)
{
	static char path[4096];
	struct perf_event_attr attributes = {.size = sizeof(attributes)};
	long long type = read_number("/sys/bus/event_source/devices/uprobe/type", NULL);
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (type < 0 || length < 0)
		return -1;
	attributes.type = (__u32)type;
	attributes.config = reference << 32; /* ref_ctr_offset: bits 32 to 63 */
	attributes.config1 = (uintptr_t)path;
	attributes.config2 = site;
	return (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

int main(void)
{
	enum { IDLE_CALLS = 2000000, TRACED_CALLS = 20000 };
	uint64_t hits = 0;
	char text[64];
	int event;

	report_machine();
	report("a call of an empty function", best_of(probe_plain, IDLE_CALLS), "ns");
	report("the same with an untraced probe behind its semaphore", best_of(probe_guarded, IDLE_CALLS), "ns");
	report("the same with an untraced one-byte nop", best_of(probe_fire, IDLE_CALLS), "ns");
	snprintf(text, sizeof(text), "%02x, semaphore %u", probe_site[0], semaphore);
	report_text("the instruction before", text);

	event = attach(file_offset(probe_site), file_offset(&semaphore));
	if (event < 0) {
		report_result("perf_event_open of a uprobe (needs root or CAP_PERFMON)", -1);
		return 0;
	}
	snprintf(text, sizeof(text), "%02x, semaphore %u", probe_site[0], semaphore);
	report_text("the instruction while traced", text);
	report("a traced call", best_of(probe_guarded, TRACED_CALLS), "ns");
	if (read(event, &hits, sizeof(hits)) == sizeof(hits))
		report_text("every hit was counted", hits == (uint64_t)TRACED_CALLS * REPEATS ? "yes" : "NO");
	close(event);
	snprintf(text, sizeof(text), "%02x, semaphore %u", probe_site[0], semaphore);
	report_text("the instruction after", text);
	return 0;
}
