/* config.c - see config.h. */
#include "base/config.h"

#include "base/panic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BOOL GY_OPTION_BOOL, NULL
#define SIZE GY_OPTION_SIZE, NULL
#define UINT GY_OPTION_UINT, NULL
#define ENUM(words) GY_OPTION_ENUM, OPTION_WORDS_##words
#define START false
#define LIVE true
/* One level of expansion turns a kind into its two fields. */
#define OPTION_ROW(...) {__VA_ARGS__},
#define OPTION(name, kind, default_value, minimum, maximum, changes, text)                         \
	OPTION_ROW(#name, kind, default_value, minimum, maximum, changes, text)

const struct gy_option_info gy_option_table[GY_OPT_COUNT] = {
#include "base/options.def"
};
#undef OPTION
#undef BOOL
#undef SIZE
#undef UINT
#undef ENUM
#undef START
#undef LIVE

uint64_t gy_option_values[GY_OPT_COUNT] = {
#define ENUM(words)
#define OPTION(name, kind, default_value, minimum, maximum, changes, text) default_value,
#include "base/options.def"
#undef OPTION
#undef ENUM
};

static bool word_is(const char *word, size_t length, const char *candidate)
{
	return strlen(candidate) == length && memcmp(word, candidate, length) == 0;
}

static int parse_bool(const char *word, size_t length, uint64_t *value)
{
	static const char *const yes[] = {"on", "true", "yes", "1"};
	static const char *const no[] = {"off", "false", "no", "0"};

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (word_is(word, length, yes[i]) || word_is(word, length, no[i])) {
			*value = word_is(word, length, yes[i]);
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_enum(const char *words, const char *word, size_t length, uint64_t *value)
{
	uint64_t index = 0;

	for (;;) {
		size_t candidate = strcspn(words, "|");

		if (candidate == length && memcmp(words, word, length) == 0) {
			*value = index;
			return 0;
		}
		if (!words[candidate])
			return -EINVAL;
		words += candidate + 1;
		index++;
	}
}

static int parse_number(const char *word, size_t length, bool with_unit, uint64_t *value)
{
	uint64_t number = 0;
	size_t i = 0;

	for (; i < length && word[i] >= '0' && word[i] <= '9'; i++) {
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(word[i] - '0'), &number))
			return -ERANGE;
	}
	if (i == 0)
		return -EINVAL;
	if (with_unit && i < length) {
		const char *units = "KMGT";
		const char *unit = strchr(units, word[i] & ~0x20);

		if (!unit || !*unit)
			return -EINVAL;
		for (const char *u = units; u <= unit; u++)
			if (__builtin_mul_overflow(number, 1024, &number))
				return -ERANGE;
		i++;
		if (i + 1 < length && memcmp(word + i, "iB", 2) == 0)
			i += 2;
		else if (i < length && word[i] == 'B')
			i++;
	}
	if (i != length)
		return -EINVAL;
	*value = number;
	return 0;
}

static int parse_value(const struct gy_option_info *info, const char *word, size_t length,
		       uint64_t *value)
{
	int error = -EINVAL;

	switch (info->kind) {
	case GY_OPTION_BOOL:
		error = parse_bool(word, length, value);
		break;
	case GY_OPTION_ENUM:
		error = parse_enum(info->words, word, length, value);
		break;
	case GY_OPTION_SIZE:
	case GY_OPTION_UINT:
		error = parse_number(word, length, info->kind == GY_OPTION_SIZE, value);
		break;
	}
	if (!error && (*value < info->minimum || *value > info->maximum))
		error = -ERANGE;
	return error;
}

static void report(const char *problem, const char *item, size_t length)
{
	char word[96], buffer[256];
	struct gy_text text = GY_TEXT(buffer);

	length = MIN(length, sizeof(word) - 1);
	memcpy(word, item, length);
	word[length] = '\0';
	gy_message_begin(&text);
	gy_text_add(&text, "GYRE_OPTIONS: ");
	gy_text_add(&text, problem);
	gy_text_add(&text, ": '");
	gy_text_add(&text, word);
	gy_text_add(&text, "' (ignored)");
	gy_message_write(&text);
}

static int find_option(const char *name, size_t length)
{
	for (unsigned i = 0; i < GY_OPT_COUNT; i++)
		if (word_is(name, length, gy_option_table[i].name))
			return (int)i;
	return -ENOENT;
}

int gy_config_find(const char *name)
{
	return find_option(name, strlen(name));
}

static unsigned parse_item(const char *item, size_t length)
{
	const char *equals = memchr(item, '=', length);
	size_t name_length = equals ? (size_t)(equals - item) : length;
	int id = find_option(item, name_length);
	uint64_t value;
	int error;

	if (id < 0) {
		report("no such option", item, length);
		return 1;
	}
	if (!equals) {
		report("value missing", item, length);
		return 1;
	}
	error = parse_value(&gy_option_table[id], equals + 1, length - name_length - 1, &value);
	if (error) {
		report(error == -ERANGE ? "value out of range" : "value not understood", item,
		       length);
		return 1;
	}
	WRITE_RELAXED(gy_option_values[id], value);
	return 0;
}

unsigned gy_config_parse(const char *text)
{
	unsigned errors = 0;

	while (*text) {
		size_t length = strcspn(text, ",");

		if (length)
			errors += parse_item(text, length);
		text += length;
		text += *text == ',';
	}
	return errors;
}

void gy_config_init(void)
{
	const char *text = secure_getenv("GYRE_OPTIONS"); /* CONFIG-2 */

	if (text)
		gy_config_parse(text);
}

int gy_config_set(enum gy_option_id id, uint64_t value)
{
	const struct gy_option_info *info = &gy_option_table[id];

	if (!info->live)
		return -EPERM;
	if (value < info->minimum || value > info->maximum)
		return -ERANGE;
	WRITE_RELAXED(gy_option_values[id], value);
	return 0;
}

int gy_config_change(const char *name, const char *value)
{
	int id = gy_config_find(name), error;
	uint64_t number;

	if (id < 0)
		return id;
	if (!gy_option_table[id].live)
		return -EPERM;
	error = parse_value(&gy_option_table[id], value, strlen(value), &number);
	if (!error)
		error = gy_config_set((enum gy_option_id)id, number);
	return error ? error : id;
}

static void print_value(const struct gy_option_info *info, uint64_t value, struct gy_text *text)
{
	unsigned unit = 0;
	char word[32] = "";

	switch (info->kind) {
	case GY_OPTION_BOOL:
		gy_text_add(text, value ? "on" : "off");
		break;
	case GY_OPTION_UINT:
		gy_text_add_u64(text, value);
		break;
	case GY_OPTION_SIZE:
		while (value && value % 1024 == 0 && unit < 4) {
			value /= 1024;
			unit++;
		}
		gy_text_add_u64(text, value);
		word[0] = " KMGT"[unit];
		if (unit)
			gy_text_add(text, word);
		break;
	case GY_OPTION_ENUM: {
		const char *words = info->words;
		size_t length;

		while (value--)
			words += strcspn(words, "|") + 1;
		length = MIN(strcspn(words, "|"), sizeof(word) - 1);
		memcpy(word, words, length);
		word[length] = '\0';
		gy_text_add(text, word);
		break;
	}
	}
}

void gy_config_print(enum gy_option_id id, struct gy_text *text)
{
	print_value(&gy_option_table[id], gy_option(id), text);
}

void gy_config_print_initial(enum gy_option_id id, struct gy_text *text)
{
	print_value(&gy_option_table[id], gy_option_table[id].initial, text);
}
