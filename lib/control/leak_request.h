/* leak_request.h - a scan for lost blocks that an observer asks for in the control page (CTL-9). */
#ifndef GY_CONTROL_LEAK_REQUEST_H
#define GY_CONTROL_LEAK_REQUEST_H

#include "control/control_page.h"

#include <stdbool.h>

/* Copies what is asked for, if anything is, for gy_leak_request_begin. [lock: control] */
bool gy_leak_request_take(const struct gyre_control_leak *asked, struct gyre_control_leak *copy);
/* Begins it and answers. Under no lock: it may start a thread. */
void gy_leak_request_begin(struct gyre_control_leak *asked, const struct gyre_control_leak *copy);
void gy_leak_request_fork_child(void);

#endif
