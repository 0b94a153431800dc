/* probes.c - see probes.h. */
#include "probes.h"

#include <stdio.h>
#include <string.h>

const struct gy_probe gy_probes[] = {
#define PROBE(group, name, count, arguments, meaning) {#group, #name, count, arguments, meaning},
#include "base/probes.def"
#undef PROBE
};
const size_t gy_probe_count = sizeof(gy_probes) / sizeof(gy_probes[0]);

const struct gy_probe *gy_probe_find(const char *name)
{
	const struct gy_probe *found = NULL;
	size_t fits = 0;

	for (size_t i = 0; i < gy_probe_count; i++) {
		if (!strcmp(gy_probes[i].name, name))
			return &gy_probes[i];
		if (*name && !strncmp(gy_probes[i].name, name, strlen(name))) {
			found = &gy_probes[i];
			fits++;
		}
	}
	return fits == 1 ? found : NULL;
}

size_t gy_probe_arguments(const struct gy_probe *probe, struct gy_probe_argument *arguments,
			  size_t capacity)
{
	const char *at = probe->arguments;
	size_t count = 0;

	while (count < capacity) {
		struct gy_probe_argument *argument = &arguments[count];

		if (sscanf(at, " %7s %31[^, ]", argument->type, argument->name) != 2)
			break;
		count++;
		at = strchr(at, ',');
		if (!at)
			break;
		at++;
	}
	return count;
}
