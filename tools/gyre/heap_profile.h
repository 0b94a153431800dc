/* heap_profile.h - `gyre heap profile` and `gyre heap flame` (commands of cmd_heap.c's table). */
#ifndef GYRE_TOOLS_HEAP_PROFILE_H
#define GYRE_TOOLS_HEAP_PROFILE_H

int gy_heap_profile(int argc, char **argv);
int gy_heap_flame(int argc, char **argv);

/* The lines of their help, without "Usage:". */
#define GY_HEAP_PROFILE_HELP                                                                       \
	"       gyre heap profile PROC [kind { inuse | alloc }] [by { space | objects }] \\\n"     \
	"                              [format { text | pprof | folded | json }] \\\n"             \
	"                              [output FILE] [top N]\n"                                    \
	"       gyre heap flame PROC [kind { inuse | alloc }] [by { space | objects }] \\\n"       \
	"                            [output FILE]\n"

#endif
