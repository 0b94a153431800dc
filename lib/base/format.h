/* format.h - text into a fixed buffer, without malloc, locale or errno.
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

#endif
