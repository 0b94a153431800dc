/* output_form.c - see output_form.h. */
#include "output_form.h"

#include <stddef.h>
#include <string.h>

const char *const gy_form_names[] = {"", "text", "pprof", "folded", "json", "svg"};

enum gy_form gy_form_by_path(const char *path)
{
	static const struct {
		const char *suffix;
		enum gy_form form;
	} suffixes[] = {{".pb.gz", FORM_PPROF},
			{".pprof", FORM_PPROF},
			{".folded", FORM_FOLDED},
			{".json", FORM_JSON},
			{".svg", FORM_FLAME}};
	size_t length = strlen(path);

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		size_t suffix = strlen(suffixes[i].suffix);

		if (length > suffix && !strcmp(path + length - suffix, suffixes[i].suffix))
			return suffixes[i].form;
	}
	return FORM_UNSET;
}
