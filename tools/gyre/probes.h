/* probes.h - probes.def, compiled into the command. */
#ifndef GYRE_TOOLS_PROBES_H
#define GYRE_TOOLS_PROBES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gy_probe {
	const char *group, *name;
	unsigned int argument_count;
	const char *arguments, *meaning;
};

struct gy_probe_argument {
	char type[8], name[32]; /* "ptr" "block" */
};

extern const struct gy_probe gy_probes[];
extern const size_t gy_probe_count;

/* gy_probe_find - by exact name, or by a prefix that fits only one. NULL otherwise. */
const struct gy_probe *gy_probe_find(const char *name);
/* gy_probe_arguments - take the argument text apart. Returns how many were filled. */
size_t gy_probe_arguments(const struct gy_probe *probe, struct gy_probe_argument *arguments,
			  size_t capacity);

#endif
