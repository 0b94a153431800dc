/* leak_client.h - a scan for lost blocks in a process, from the request to the result.
 *
 *      request     in the control page (CTL-9)
 *      drive       the lease is kept up, registers are brought when they are asked for
 *      result      copied out of the process's memfd, checked, and released
 *
 * The scan itself runs in the process (lib/leak/); lib/leak/leak_report.h is the contract.
 *
 * CLIENT-1  All that the process says is copied first, then checked (REPORT-4): counts against
 *           rooms, rooms against the file's size. Texts there are none.
 * CLIENT-2  Only the input area and the protocol's words are mapped, and only if the file is sealed
 *           against shrinking.
 * CLIENT-3  If we are killed, the lease ends, and the process gives the scan up by itself. A signal
 *           that can be caught cancels it, and waits until it is over.
 */
#ifndef GYRE_TOOLS_LEAK_CLIENT_H
#define GYRE_TOOLS_LEAK_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "control.h"
#include "leak/leak_report.h"
#include "target.h"

struct gy_leak_result {
	struct gyre_leak_header header;
	struct gyre_leak_class *classes;
	struct gyre_leak_group *groups;
	struct gyre_leak_block *blocks;
	struct gyre_leak_step *steps;
	size_t class_count, group_count, block_count, step_count;
	const char *registers_lack; /* why none were brought; NULL: they were */
};

/* gy_leak_scan_run - ask for it and see it through. 0 with *result to be freed, or -1 with the
 * error told.
 * @request  from `operation` on; lease and registers are ours to fill in */
int gy_leak_scan_run(struct gy_target *target, const struct gyre_control_leak *request,
		     struct gy_leak_result *result);
void gy_leak_result_free(struct gy_leak_result *result);
/* gy_leak_result_read - the result of scan `scan` in the file `fd` of `bytes`. 0 or -errno:
 * -EBADMSG it makes no sense, -EAGAIN it is not there. (Apart for the fuzzer.) */
int gy_leak_result_read(int fd, uint64_t bytes, uint32_t scan, struct gy_leak_result *result);

#endif
