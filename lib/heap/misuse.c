/* misuse.c - see misuse.h. */
#include "heap/misuse.h"

#include "base/config.h"
#include "base/panic.h"
#include "base/probe.h"
#include "heap/span.h"

#include <stdlib.h>

static uint64_t count; /* [atomic: relaxed] */

static uint64_t block_bytes(const struct gy_span *span)
{
	return span->kind == GY_SPAN_LARGE ? gy_span_bytes(span)
					   : gy_size_classes[span->class_index].bytes;
}

static void add_not_a_start(struct gy_text *text, const struct gy_span *span, const void *block)
{
	uint64_t bytes = block_bytes(span);
	uint64_t offset = (uint64_t)((const char *)block - gy_span_start(span));
	uint64_t start = offset / bytes * bytes;

	gy_text_add(text, ", which is ");
	gy_text_add_u64(text, offset - start);
	gy_text_add(text, " bytes into a block of ");
	gy_text_add_u64(text, bytes);
	gy_text_add(text, " bytes at ");
	gy_text_add_hex(text, (uintptr_t)gy_span_start(span) + start);
}

static void add_bytes(struct gy_text *text, uint64_t bytes)
{
	if (!bytes)
		return;
	gy_text_add(text, " (a block of ");
	gy_text_add_u64(text, bytes);
	gy_text_add(text, " bytes)");
}

void gy_misuse(enum gy_misuse_kind kind, const void *block, unsigned class_index, uint64_t detail,
	       const char *function, uintptr_t caller_pc)
{
	const struct gy_span *span = gy_is_ours(block) ? gy_span_of_page(gy_page_of(block)) : NULL;
	uint64_t bytes = class_index ? gy_size_classes[class_index].bytes
			 : span      ? block_bytes(span)
				     : 0;
	char buffer[320];
	struct gy_text text = GY_TEXT(buffer);

	GY_PROBE3(misuse, kind, (uintptr_t)block, bytes);
	gy_message_begin(&text);
	if (kind == GY_MISUSE_DOUBLE_FREE && function[0] == 'f')
		gy_text_add(&text, "double ");
	else if (kind == GY_MISUSE_WRONG_SIZE)
		gy_text_add(&text, "sized ");
	else if (kind == GY_MISUSE_WRONG_ALIGNMENT)
		gy_text_add(&text, "aligned ");
	gy_text_add(&text, function);
	gy_text_add(&text, " of ");
	gy_text_add_hex(&text, (uintptr_t)block);
	switch (kind) {
	case GY_MISUSE_DOUBLE_FREE:
		if (function[0] != 'f')
			gy_text_add(&text, ", which was freed already");
		add_bytes(&text, bytes);
		break;
	case GY_MISUSE_NOT_A_START:
		if (span && span->kind != GY_SPAN_NONE) {
			add_not_a_start(&text, span, block);
			break;
		}
		/* fallthrough */
	case GY_MISUSE_NOT_OURS:
		gy_text_add(&text, ", which is not a block of this heap");
		break;
	case GY_MISUSE_WRONG_SIZE:
	case GY_MISUSE_WRONG_ALIGNMENT:
		gy_text_add(&text, kind == GY_MISUSE_WRONG_SIZE ? " with " : " with alignment ");
		gy_text_add_u64(&text, detail);
		gy_text_add(&text, kind == GY_MISUSE_WRONG_SIZE ? " bytes, but the block has "
								: ", but the block has ");
		gy_text_add_u64(&text, bytes);
		gy_text_add(&text, " bytes");
		break;
	}
	if (caller_pc) {
		gy_text_add(&text, " [called from ");
		gy_text_add_hex(&text, caller_pc);
		gy_text_add(&text, "]");
	} else {
		gy_text_add(&text, " [found when the thread's cache was emptied]");
	}
	gy_message_write(&text);
	if (gy_option(GY_OPT_on_misuse) == 0)
		abort();
	ADD_RELAXED(count, 1);
}

uint64_t gy_misuse_count(void)
{
	return READ_RELAXED(count);
}
