/* size_class.h - which block sizes there are, and which one serves a request.
 *
 *   class      1   2  ..  9   10   11  ..   72    73   74  ..  112
 *   bytes      8  16  .. 72   96  112  .. 1088  1152 1280 .. 32768
 *              8i, i in 0..9   16i-64, 10..72    8 steps a doubling
 *
 * The table is generated (tools/dev/gen_size_classes.c) and checked entry by entry in
 * tests/unit/heap. Class 0 holds nothing: it stands for "not a small block".
 *
 * malloc must align to 16 bytes whatever can hold a 16-byte object, so requests of 9 bytes and up
 * skip the classes that are no multiple of 16 (24, 40, 56, 72); collected types, which state their
 * own alignment, may use them.
 *
 * CLASS-1  bytes follow the formula; neighbours above 1088 are at most 12.5 % apart.
 * CLASS-2  the tail behind a span's last block is at most 12.5 % of the span.
 * CLASS-3  gy_class_of_request(n) is the smallest class of at least n bytes that malloc may use.
 * CLASS-4  `magic` = ceil(2^32 / bytes): for an offset n inside a span (n < 2^16 * 8),
 *          n is a multiple of bytes  iff  (u32)(n * magic) < magic, and n / bytes = n * magic >> 32
 *          (Lemire, Kaser, Kurz: Faster remainder by direct computation, 2019).
 */
#ifndef GY_HEAP_SIZE_CLASS_H
#define GY_HEAP_SIZE_CLASS_H

#include "base/compiler.h"
#include "size_class_table.h"

#define GY_PAGE_SHIFT 13
#define GY_PAGE_BYTES ((size_t)1 << GY_PAGE_SHIFT)
#define GY_SMALL_MAX_BYTES 1088u /* looked up by 8-byte steps */
#define GY_SMALL_STEPS (GY_SMALL_MAX_BYTES / 8 + 1)
#define GY_MEDIUM_STEPS (GY_CLASS_MAX_BYTES / 128 + 1)
#define GY_SPAN_OBJECTS_MAX 1024u

struct gy_size_class {
	uint32_t bytes;
	uint32_t magic; /* CLASS-4 */
	uint16_t objects;
	uint8_t pages;
};

extern const struct gy_size_class gy_size_classes[GY_CLASS_COUNT] GY_HIDDEN;
extern const uint8_t gy_class_of_small[GY_SMALL_STEPS] GY_HIDDEN;   /* by (bytes + 7) / 8 */
extern const uint8_t gy_class_of_medium[GY_MEDIUM_STEPS] GY_HIDDEN; /* by (bytes + 127) / 128 */

/* @bytes up to GY_CLASS_MAX_BYTES */
GY_INLINE unsigned gy_class_of_request(size_t bytes)
{
	if (bytes <= GY_SMALL_MAX_BYTES)
		return gy_class_of_small[(bytes + 7) / 8];
	return gy_class_of_medium[(bytes + 127) / 128];
}

/* The smallest class of at least `bytes` whose size is a multiple of `alignment` (a power of 2 up
 * to a page); 0 where there is none. */
unsigned gy_class_of_aligned(size_t bytes, size_t alignment);

#endif
