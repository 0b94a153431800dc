/* format.c - see format.h. */
#include "base/format.h"

static void text_add_char(struct gy_text *text, char c)
{
	if (text->length + 1 >= text->capacity)
		return;
	text->bytes[text->length++] = c;
	text->bytes[text->length] = '\0';
}

void gy_text_add(struct gy_text *text, const char *string)
{
	while (*string)
		text_add_char(text, *string++);
}

static void text_add_number(struct gy_text *text, uint64_t value, unsigned base)
{
	char digits[24];
	unsigned count = 0;

	do {
		digits[count++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	while (count)
		text_add_char(text, digits[--count]);
}

void gy_text_add_u64(struct gy_text *text, uint64_t value)
{
	text_add_number(text, value, 10);
}

void gy_text_add_hex(struct gy_text *text, uint64_t value)
{
	gy_text_add(text, "0x");
	text_add_number(text, value, 16);
}

uint64_t gy_text_number(const char *at, unsigned base)
{
	uint64_t value = 0;

	for (;; at++) {
		unsigned digit = *at >= '0' && *at <= '9'   ? (unsigned)(*at - '0')
				 : *at >= 'a' && *at <= 'f' ? (unsigned)(*at - 'a' + 10)
							    : 16;

		if (digit >= base)
			return value;
		value = value * base + digit;
	}
}
