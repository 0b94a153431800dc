/* leak.h - `gyre leak`: the commands, and the words they share.
 *
 *      cmd_leak.c        the object: help, which command
 *      leak_scan.c       scan: what is lost
 *        leak_client.c   the request, the result         leak_registers.c  of all threads
 *        leak_findings.c less what is suppressed (leak_suppress.c) or known (leak_base.c)
 *        leak_report.c   as text and JSON
 *      leak_why.c        why: who holds a block          leak_places.c     names of addresses
 *      leak_guard.c      guard: what did it hold when it was killed?
 *      leak_watch.c      watch: what grows, live
 *        leak_growth.c   series of stacks and classes    leak_trend.c   what a series means
 *        leak_deaths.c   survival by age                 leak_picture.c the SVG
 *        leak_screen.c   on a terminal                   leak_every.c   every block, for a while
 */
#ifndef GYRE_TOOLS_LEAK_H
#define GYRE_TOOLS_LEAK_H

#include <stdbool.h>

#include "control/control_page.h"

int gy_leak_scan(int argc, char **argv);
int gy_leak_watch(int argc, char **argv);
int gy_leak_why(int argc, char **argv);
int gy_leak_guard(int argc, char **argv);

/* gy_leak_word - is it that keyword, with or without two dashes before it? */
bool gy_leak_word(const char *word, const char *full);
/* gy_leak_asked_word - one of exact, tag-mask, cpu, memory, stop-after (leak_scan.c): 0, or -1 with
 * the error told; advances past it. */
int gy_leak_asked_word(struct gyre_control_leak *asked, int *argc, char ***argv);

#define GY_LEAK_SCAN_HELP                                                                          \
	"       gyre leak scan PROC [rounds N] [proof { concurrent | stop }] [exact] \\\n"        \
	"                           [tag-mask MASK] [cpu PERCENT] [memory SIZE] \\\n"             \
	"                           [stop-after TIME] [suppressions FILE] [since FILE] \\\n"      \
	"                           [save FILE] [format { text | pprof | folded | json | svg }] "  \
	"\\\n"                                                                                    \
	"                           [output FILE] [top N]\n"
#define GY_LEAK_WATCH_HELP                                                                         \
	"       gyre leak watch PROC [interval TIME] [duration TIME] [count N] [sites N] \\\n"     \
	"                            [stacks TIME] [picture FILE]\n"
#define GY_LEAK_WHY_HELP                                                                           \
	"       gyre leak why PROC ADDRESS [exact] [tag-mask MASK] [cpu PERCENT] \\\n"             \
	"                                  [memory SIZE] [stop-after TIME]\n"
#define GY_LEAK_GUARD_HELP                                                                         \
	"       gyre leak guard [PROC] [directory DIR] [interval TIME] [duration TIME] \\\n"       \
	"                              [count N]\n"

#endif
