/* format.c - values as people read them, and as JSON holds them (the last part of output.h).
 *
 * Sizes and times have one decimal or three digits: what a glance takes in. Exact numbers are what
 * -j is for. Text that came from elsewhere loses what could steer a terminal (OUT-3).
 */
#include "output.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *gy_out_bytes(char text[GY_OUT_TEXT], uint64_t bytes)
{
	static const char units[][4] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double scaled = (double)bytes;
	size_t unit = 0;

	/* 1023.95 would print as "1024.0": step up where rounding reaches the next unit. */
	while (scaled >= (unit ? 1023.95 : 1024) && unit + 1 < sizeof(units) / sizeof(units[0])) {
		scaled /= 1024;
		unit++;
	}
	if (!unit)
		snprintf(text, GY_OUT_TEXT, "%" PRIu64 " B", bytes);
	else
		snprintf(text, GY_OUT_TEXT, "%.1f %s", scaled, units[unit]);
	return text;
}

const char *gy_out_ns(char text[GY_OUT_TEXT], uint64_t duration_ns)
{
	double seconds = (double)duration_ns / 1e9;
	uint64_t whole = (duration_ns + 500000000) / 1000000000;

	if (duration_ns < 1000)
		snprintf(text, GY_OUT_TEXT, "%" PRIu64 " ns", duration_ns);
	else if (seconds < 999.5e-6)
		snprintf(text, GY_OUT_TEXT, "%.3g us", seconds * 1e6);
	else if (seconds < 999.5e-3)
		snprintf(text, GY_OUT_TEXT, "%.3g ms", seconds * 1e3);
	else if (seconds < 59.95)
		snprintf(text, GY_OUT_TEXT, "%.1f s", seconds);
	else if (whole < 3600)
		snprintf(text, GY_OUT_TEXT, "%" PRIu64 "m%02" PRIu64 "s", whole / 60, whole % 60);
	else if (whole < 86400)
		snprintf(text, GY_OUT_TEXT, "%" PRIu64 "h%02" PRIu64 "m", whole / 3600,
			 whole / 60 % 60);
	else
		snprintf(text, GY_OUT_TEXT, "%" PRIu64 "d%02" PRIu64 "h", whole / 86400,
			 whole / 3600 % 24);
	return text;
}

/* 1234567 as "1,234,567": a reader on call counts digits badly. */
const char *gy_out_count(char text[GY_OUT_TEXT], uint64_t count)
{
	char digits[24];
	int length = snprintf(digits, sizeof(digits), "%" PRIu64, count);
	char *to = text;

	for (int i = 0; i < length; i++) {
		if (i && (length - i) % 3 == 0)
			*to++ = ',';
		*to++ = digits[i];
	}
	*to = 0;
	return text;
}

/* Length of the UTF-8 sequence at `s`, or 0 where it is none. */
static size_t utf8_length(const unsigned char *s)
{
	size_t length = s[0] < 0x80                   ? 1
			: s[0] >= 0xc2 && s[0] < 0xe0 ? 2
			: s[0] >= 0xe0 && s[0] < 0xf0 ? 3
			: s[0] >= 0xf0 && s[0] < 0xf5 ? 4
						      : 0;

	for (size_t i = 1; i < length; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	return length;
}

void gy_out_clean(char *text)
{
	unsigned char *s = (unsigned char *)text;

	while (*s) {
		size_t length = utf8_length(s);
		/* C1 controls (U+0080..9F) steer terminals as C0's do. */
		bool control =
			s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && length == 2 && s[1] < 0xa0);

		if (!length || control)
			for (size_t i = 0; i < (length ? length : 1); i++)
				s[i] = '?';
		s += length ? length : 1;
	}
}

json_t *gy_out_json_u64(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

json_t *gy_out_json_text(const char *text)
{
	char *copy = strdup(text);
	json_t *value;

	if (!copy)
		return json_null();
	gy_out_clean(copy);
	value = json_string(copy);
	free(copy);
	return value;
}

json_t *gy_out_json_address(uint64_t address)
{
	char text[GY_OUT_TEXT];

	snprintf(text, sizeof(text), "0x%" PRIx64, address);
	return json_string(text);
}

json_t *gy_out_json_event(const char *name, uint64_t time_ns, int64_t wall_offset_ns)
{
	json_t *object = json_object();

	json_object_set_new(object, "event", json_string(name));
	json_object_set_new(object, "time_ns", gy_out_json_u64(time_ns));
	json_object_set_new(object, "wall_ns", json_integer((json_int_t)time_ns + wall_offset_ns));
	return object;
}
