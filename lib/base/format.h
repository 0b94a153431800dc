/* format.h - text into a fixed buffer, and numbers out of text, without malloc, locale or errno.
 *
 * For messages that must get out of a heap that is in trouble. The buffer never overflows: what
 * does not fit is cut, and the end is always a NUL.
 */
#ifndef GY_BASE_FORMAT_H
#define GY_BASE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

struct gy_text {
	char *bytes;
	size_t capacity, length;
};

#define GY_TEXT(buffer)                                                                            \
	{                                                                                          \
		(buffer), sizeof(buffer), 0                                                        \
	}

void gy_text_add(struct gy_text *text, const char *string);
void gy_text_add_u64(struct gy_text *text, uint64_t value);
void gy_text_add_hex(struct gy_text *text, uint64_t value); /* with 0x */

/* The number at the text's beginning, in base 10 or 16 (small letters); 0: there is none. strtoull
 * needs a locale, which the background thread does not have (NATIVE-2). */
uint64_t gy_text_number(const char *at, unsigned base);

#endif
