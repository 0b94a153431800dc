/* leak.h - `gyre leak`: the commands, and the words they share.
 *
 *      cmd_leak.c        the object: help, which command
 *      leak_watch.c      watch: what grows, live
 *        leak_growth.c   series of stacks and classes    leak_trend.c   what a series means
 *        leak_deaths.c   survival by age                 leak_picture.c the SVG
 *        leak_screen.c   on a terminal
 */
#ifndef GYRE_TOOLS_LEAK_H
#define GYRE_TOOLS_LEAK_H

#include <stdbool.h>

int gy_leak_scan(int argc, char **argv);
int gy_leak_watch(int argc, char **argv);

/* gy_leak_word - is it that keyword, with or without two dashes before it? */
bool gy_leak_word(const char *word, const char *full);

#define GY_LEAK_SCAN_HELP                                                                          \
	"       gyre leak scan PROC [rounds N] [proof { concurrent | stop }] [exact] \\\n"        \
	"                           [tag-mask MASK] [cpu PERCENT] [memory SIZE] \\\n"             \
	"                           [stop-after TIME] [suppressions FILE] [since FILE] \\\n"      \
	"                           [save FILE] [format { text | pprof | folded | json | svg }] "  \
	"\\\n"                                                                                    \
	"                           [output FILE] [top N]\n"
#define GY_LEAK_WATCH_HELP                                                                         \
	"       gyre leak watch PROC [interval TIME] [duration TIME] [count N] [sites N] \\\n"     \
	"                            [picture FILE]\n"

#endif
