/* page.h - keeping the control page (control_page.h). See page.c's essay. */
#ifndef GY_CONTROL_PAGE_H
#define GY_CONTROL_PAGE_H

#include "control/control_page.h"

#include <stdbool.h>

/* Makes the page and moves the profile into it. Any thread; at most one makes it. */
void gy_control_init(void);
/* Is there a page, made by this process? */
bool gy_control_exists(void);
/* Does somebody wait for a snapshot? */
bool gy_control_is_asked(void);
/* Writes a snapshot, and answers whoever waits. */
void gy_control_publish(void);
uint64_t gy_control_published_ns(void);
/* The word to sleep on: it changes and is woken when somebody asks. NULL without a page. */
uint32_t *gy_control_request_word(void);
void gy_control_set_background(uint32_t tid, uint64_t runs);
void gy_control_fork_prepare(void);
void gy_control_fork_parent(void);
void gy_control_fork_child(void);

#endif
