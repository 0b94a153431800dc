/* events_fuzz.c - batches of events as the ring hands them over, through the session's reader and
 * the printing of `gyre alloc trace every`.
 *
 * What is in a record is the process's own (its memory, copied by the eBPF program). The input is a
 * sequence of ring records: two bytes of length, then so many bytes.
 */
#include "../../tools/gyre/event_session.c"
#define on_batch every_on_batch
#include "../../tools/gyre/alloc_every.c"
#undef on_batch

#include "fuzz.h"

static struct gy_event_session *session;
static struct gy_target target = {.pid_fd = -1, .comm = "fuzz"};
static struct every every;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fuzz_quiet(false);
	target.pid = getpid();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	size_t at = 0;

	session = calloc(1, sizeof(*session));
	fuzz_must(session != NULL);
	session->threads = gy_event_threads_open(&target, 1);
	session->count = 1;
	session->watched[0].target = &target;
	session->watched[0].clock = (struct gy_event_clock){length % 2 ? 3000000000u : 0, 7, 9};
	session->links.signal_fd = -1;
	session->plan.batch = every_on_batch;
	session->plan.context = &every;
	memset(&every, 0, sizeof(every));
	every.session = session;
	every.target = &target;
	while (at + 2 <= length) {
		size_t wanted = bytes[at] + 256u * bytes[at + 1], left = length - at - 2;
		size_t taken = wanted < left ? wanted : left;
		/* 8-byte aligned as in the ring, and no byte longer than it says */
		uint8_t *record = malloc(taken ? taken : 1);

		fuzz_must(record != NULL);
		memcpy(record, bytes + at + 2, taken);
		on_batch(session, record, taken);
		free(record);
		at += 2 + taken;
	}
	gy_event_threads_close(session->threads);
	free(session);
	gy_out_finish();
	return 0;
}
