/* event_batches.c - one uprobe for each event, or one for a batch of them; and what a forked child
 * finds.
 *
 * An event is a record of 24 bytes with a time stamp, written to a ring of 1024. The program traces
 * itself, as uprobes.c does, without an eBPF program: the trap is what every tracer pays, and what is
 * done with a batch comes on top (a copy of 12 KiB, or a loop over 512 records).
 */
#include "measure.h"
#include "place.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/wait.h>
#include <x86intrin.h>

#define RECORDS 1024u
#define EVENTS 400000u

static volatile unsigned short semaphore __attribute__((section(".probes")));
extern const volatile unsigned char batch_site[];

static struct record {
	uint64_t ticks, where;
	uint32_t bytes, stack;
} ring[RECORDS];

__attribute__((noinline)) static void probe_fire(const struct record *records, unsigned int count)
{
	__asm__ volatile(".globl batch_site\nbatch_site: nop" : : "r"(records), "r"(count));
}

static double write_events(unsigned int batch)
{
	double begin = now_us();

	for (unsigned int i = 0; i < EVENTS; i++) {
		volatile struct record *record = &ring[i % RECORDS];

		record->ticks = __rdtsc();
		record->where = i;
		record->bytes = 64;
		record->stack = 0;
		if (batch && (i + 1) % batch == 0 && semaphore)
			probe_fire(&ring[(i + 1 - batch) % RECORDS], batch);
	}
	return (now_us() - begin) * 1000 / EVENTS;
}

static double best_of(unsigned int batch)
{
	double best = 1e9;

	for (int i = 0; i < (batch && batch < 16 ? 3 : REPEATS); i++) {
		double took = write_events(batch);

		best = took < best ? took : best;
	}
	return best;
}

static double ticks_alone(void)
{
	double best = 1e9;

	for (int i = 0; i < REPEATS; i++) {
		double begin = now_us(), took;

		for (unsigned int k = 0; k < EVENTS; k++)
			__asm__ volatile("" : : "r"(__rdtsc()));
		took = (now_us() - begin) * 1000 / EVENTS;
		best = took < best ? took : best;
	}
	return best;
}

/* As libbpf attaches to a probe with a semaphore, of this process alone. */
static int attach(void)
{
	static char path[4096];
	struct perf_event_attr attributes = {.size = sizeof(attributes)};
	long long type = read_number("/sys/bus/event_source/devices/uprobe/type", NULL);
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (type < 0 || length < 0)
		return -1;
	attributes.type = (__u32)type;
	attributes.config = file_offset(&semaphore) << 32; /* ref_ctr_offset: bits 32 to 63 */
	attributes.config1 = (uintptr_t)path;
	attributes.config2 = file_offset(batch_site);
	return (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

/* In a child that is not traced itself. */
static void report_child(void)
{
	char text[128];

	fflush(stdout);
	if (fork() == 0) {
		unsigned int before = semaphore, code = batch_site[0];

		probe_fire(ring, 0);
		snprintf(text, sizeof(text), "semaphore %u, instruction %02x; then %u, %02x", before, code,
			 semaphore, batch_site[0]);
		report_text("a forked child, before and after it comes by the place once", text);
		fflush(stdout);
		_exit(0);
	}
	wait(NULL);
}

int main(void)
{
	static const unsigned int batches[] = {1, 16, 64, 256, 512};
	int event;

	report_machine();
	report("the time stamp alone (rdtsc)", ticks_alone(), "ns");
	report("an event: a record with a time stamp, nobody told", best_of(0), "ns");
	event = attach();
	if (event < 0) {
		report_result("perf_event_open of a uprobe (needs root or CAP_PERFMON)", -1);
		return 0;
	}
	for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
		char what[80];

		snprintf(what, sizeof(what), "an event, told in batches of %u", batches[i]);
		report(what, best_of(batches[i]), "ns");
	}
	report_child();
	close(event);
	return 0;
}
