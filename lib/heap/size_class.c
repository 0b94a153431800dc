/* size_class.c - the tables of size_class.h. */
#include "heap/size_class.h"

#include "base/bits.h"

#define ROW(index, object_bytes, span_pages, span_objects)                                         \
	[index] = {.bytes = (object_bytes),                                                        \
		   .magic = (uint32_t)(((1ull << 32) + (object_bytes)-1) / (object_bytes)),        \
		   .objects = (span_objects),                                                      \
		   .pages = (span_pages)},

const struct gy_size_class gy_size_classes[GY_CLASS_COUNT] = {GY_SIZE_CLASSES(ROW)};
const uint8_t gy_class_of_small[GY_SMALL_STEPS] = {GY_CLASS_OF_SMALL};
const uint8_t gy_class_of_medium[GY_MEDIUM_STEPS] = {GY_CLASS_OF_MEDIUM};

unsigned gy_class_of_aligned(size_t bytes, size_t alignment)
{
	unsigned class_index;

	if (bytes > GY_CLASS_MAX_BYTES || alignment > GY_PAGE_BYTES)
		return 0;
	bytes = gy_round_up(MAX(bytes, 1), alignment);
	if (bytes > GY_CLASS_MAX_BYTES)
		return 0;
	for (class_index = gy_class_of_request(bytes); class_index < GY_CLASS_COUNT; class_index++)
		if (gy_size_classes[class_index].bytes % MAX(alignment, 16) == 0)
			return class_index;
	return 0;
}
