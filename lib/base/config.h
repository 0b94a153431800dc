/* config.h - the options of GYRE_OPTIONS (options.def), parsed once, read as plain numbers.
 *
 * CONFIG-1  Parsing allocates nothing: it may run inside the very first malloc.
 * CONFIG-2  A set-uid program ignores the variable.
 * CONFIG-3  A wrong name or value is one clear line on stderr, and the default stands.
 */
#ifndef GY_BASE_CONFIG_H
#define GY_BASE_CONFIG_H

#include "base/compiler.h"
#include "base/format.h"

#include <stdbool.h>

enum gy_option_id {
#define ENUM(words)
#define OPTION(name, kind, default_value, minimum, maximum, changes, text) GY_OPT_##name,
#include "base/options.def"
#undef OPTION
#undef ENUM
	GY_OPT_COUNT
};

enum gy_option_kind { GY_OPTION_BOOL, GY_OPTION_SIZE, GY_OPTION_UINT, GY_OPTION_ENUM };

struct gy_option_info {
	const char *name;
	enum gy_option_kind kind;
	const char *words; /* GY_OPTION_ENUM: "a|b|c" */
	uint64_t initial, minimum, maximum;
	bool live; /* may change while the process runs */
	const char *text;
};

extern const struct gy_option_info gy_option_table[GY_OPT_COUNT];
extern uint64_t gy_option_values[GY_OPT_COUNT] GY_HIDDEN; /* [atomic: relaxed] */

GY_INLINE uint64_t gy_option(enum gy_option_id id)
{
	return READ_RELAXED(gy_option_values[id]);
}

/* Reads GYRE_OPTIONS; called once, by the first caller into the heap. */
void gy_config_init(void);
/* Parses `text` as GYRE_OPTIONS would be; returns the number of errors reported. */
unsigned gy_config_parse(const char *text);
/* -ENOENT where there is no such option. */
int gy_config_find(const char *name);
/* 0, -ERANGE, or -EPERM where the option is read at start only. */
int gy_config_set(enum gy_option_id id, uint64_t value);
/* A value as GYRE_OPTIONS would have it, by name. Returns the option's id, or -ENOENT, -EPERM,
 * -ERANGE, or -EINVAL where it is not understood; reports nothing. */
int gy_config_change(const char *name, const char *value);
/* The value as a person would write it; that of an option that nobody has set. */
void gy_config_print(enum gy_option_id id, struct gy_text *text);
void gy_config_print_initial(enum gy_option_id id, struct gy_text *text);

#endif
