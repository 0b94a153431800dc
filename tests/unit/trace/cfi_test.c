/* cfi_test.c - the unwind tables' reader: every table of this process, every instruction, garbage.
 */
#include "trace/cfi.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- every FDE that is loaded ---- */
struct survey {
	unsigned objects, entries, compact;
};

static void survey_entry(const struct gy_loaded_object *object, uintptr_t pc, struct survey *survey)
{
	struct gy_cfi_entry entry;
	struct gy_cfi_row row;

	cr_assert_eq(gy_cfi_find(object, pc, &entry), 0, "%#lx", (unsigned long)pc);
	cr_assert_eq(gy_cfi_row(&entry, pc, &row), 0);
	cr_assert_eq(gy_cfi_row(&entry, entry.pc_end - 1, &row), 0);
	survey->entries++;
	survey->compact += !row.cfa_is_expression &&
			   (row.cfa_register == GY_CFI_RSP || row.cfa_register == GY_CFI_RBP);
}

static int survey_object(struct dl_phdr_info *info, size_t bytes, void *context)
{
	struct survey *survey = context;
	struct gy_loaded_object object;
	const uint8_t *header;
	uint32_t count;

	(void)bytes;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		if (info->dlpi_phdr[i].p_type != PT_GNU_EH_FRAME)
			continue;
		header = (const uint8_t *)(uintptr_t)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
		cr_assert(gy_loaded_object_find((uintptr_t)header, &object));
		cr_assert(object.eh_frame_hdr == header);
		memcpy(&count, header + 8, sizeof(count));
		for (uint32_t j = 0; j < count; j++) {
			int32_t start;

			memcpy(&start, header + 12 + 8 * (size_t)j, sizeof(start));
			survey_entry(&object, (uintptr_t)header + (uintptr_t)(intptr_t)start,
				     survey);
		}
		survey->objects++;
	}
	return 0;
}

Test(cfi, every_table_of_this_process_is_understood)
{
	struct survey survey = {0, 0, 0};

	dl_iterate_phdr(survey_object, &survey);
	fprintf(stderr, "# %u objects, %u FDEs, %u with a plain CFA\n", survey.objects,
		survey.entries, survey.compact);
	cr_assert_geq(survey.objects, 3u);
	cr_assert_gt(survey.entries, 3000u);
	cr_assert_gt(survey.compact, survey.entries / 100 * 99);
}

/* ---- instructions, one FDE at a time, made by hand ---- */
static struct {
	uint8_t cie[32];
	uint8_t fde[128];
	uint8_t end[8];
} section;

/* A CIE "zR" with absolute 8-byte pointers, code alignment 1, data alignment -8; CFA = rsp + 8. */
static void make_entry(struct gy_cfi_entry *entry, const void *program, size_t bytes)
{
	static const uint8_t cie[] = {28, 0, 0,    0,  0, 0,    0,    0, 1, 'z',       'R',
				      0,  1, 0x78, 16, 1, 0x00, 0x0c, 7, 8, 0x80 | 16, 1};
	struct gy_loaded_object object = {.start = (uintptr_t)&section,
					  .end = (uintptr_t)(&section + 1)};
	uint32_t length = sizeof(section.fde) - 4, back = sizeof(section.cie) + 4;
	uint64_t start = 0x1000, range = 0x100;

	memset(&section, 0, sizeof(section));
	memcpy(section.cie, cie, sizeof(cie));
	memcpy(section.fde, &length, 4);
	memcpy(section.fde + 4, &back, 4);
	memcpy(section.fde + 8, &start, 8);
	memcpy(section.fde + 16, &range, 8);
	memcpy(section.fde + 25, program, bytes);
	cr_assert_eq(gy_cfi_parse(section.fde, &object, entry), 0);
	cr_assert_eq(entry->pc_begin, (uintptr_t)0x1000);
	cr_assert_eq(entry->pc_end, (uintptr_t)0x1100);
}

static struct gy_cfi_row row_of(const void *program, size_t bytes, uintptr_t pc)
{
	struct gy_cfi_entry entry;
	struct gy_cfi_row row;

	make_entry(&entry, program, bytes);
	cr_assert_eq(gy_cfi_row(&entry, pc, &row), 0);
	return row;
}

#define ROW(pc, ...)                                                                               \
	row_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), pc)

static void expect_rule(const struct gy_cfi_row *row, unsigned number, enum gy_cfi_how how,
			int value)
{
	cr_assert_eq((int)row->rules[number].how, (int)how);
	cr_assert_eq(row->rules[number].value, value);
}

Test(cfi, rows_follow_the_pc)
{
	/* push rbp at 1: CFA rsp+16, rbp at -16; mov rbp, rsp at 4: CFA rbp+16; leave at 0x80:
	 * rsp+8 */
	static const uint8_t program[] = {0x41, 0x0e, 16,   0x86, 2, 0x43, 0x0d,
					  6,    0x02, 0x7c, 0x0c, 7, 8,    0xc6};
	struct gy_cfi_row row = row_of(program, sizeof(program), 0x1000);

	cr_assert(row.cfa_register == 7 && row.cfa_value == 8);
	expect_rule(&row, GY_CFI_RBP, GY_CFI_SAME, 0);
	expect_rule(&row, GY_CFI_RIP, GY_CFI_AT, -8);
	row = row_of(program, sizeof(program), 0x1001);
	cr_assert(row.cfa_register == 7 && row.cfa_value == 16);
	expect_rule(&row, GY_CFI_RBP, GY_CFI_AT, -16);
	row = row_of(program, sizeof(program), 0x107f);
	cr_assert(row.cfa_register == 6 && row.cfa_value == 16);
	row = row_of(program, sizeof(program), 0x1080);
	cr_assert(row.cfa_register == 7 && row.cfa_value == 8);
	expect_rule(&row, GY_CFI_RBP, GY_CFI_SAME, 0);
}

Test(cfi, rules_of_every_kind)
{
	struct gy_cfi_row row;

	row = ROW(0x1000, 0x05, 3, 4, 0x11, 12, 0x7d); /* offset_extended, offset_extended_sf */
	expect_rule(&row, 3, GY_CFI_AT, -32);
	expect_rule(&row, 12, GY_CFI_AT, 24);
	row = ROW(0x1000, 0x14, 3, 2, 0x15, 12, 0x7f); /* val_offset, val_offset_sf */
	expect_rule(&row, 3, GY_CFI_IS, -16);
	expect_rule(&row, 12, GY_CFI_IS, 8);
	row = ROW(0x1000, 0x07, 16, 0x09, 6, 9); /* undefined, register */
	expect_rule(&row, 16, GY_CFI_UNDEFINED, 0);
	expect_rule(&row, 6, GY_CFI_REGISTER, 9);
	row = ROW(0x1000, 0x83, 2, 0x08, 3, 0x83, 3, 0x06, 3); /* same_value; restore_extended */
	expect_rule(&row, 3, GY_CFI_SAME, 0);
	row = ROW(0x1000, 0x2f, 3, 2); /* GNU_negative_offset_extended */
	expect_rule(&row, 3, GY_CFI_AT, 16);
	row = ROW(0x1000, 0x12, 6, 0x7e, 0x13, 0x7d, 0x2e,
		  5); /* def_cfa_sf, def_cfa_offset_sf, GNU_args_size */
	cr_assert(row.cfa_register == 6 && row.cfa_value == 24);
	row = ROW(0x1000, 0x83, 2, 0x0a, 0x83, 5, 0x0e, 64, 0x0b); /* remember, restore_state */
	expect_rule(&row, 3, GY_CFI_AT, -16);
	cr_assert_eq(row.cfa_value, 8);
	row = ROW(0x1060, 0x03, 0x10, 0, 0x0e, 24, 0x04, 0x50, 0, 0, 0, 0x0e, 32, 0x41, 0x0e,
		  40); /* advance 2, 4 */
	cr_assert_eq(row.cfa_value, 32);
	row = ROW(0x1000, 0x80 | 17, 3, 0x05, 0x81, 1, 2); /* vector registers are passed over */
	expect_rule(&row, 16, GY_CFI_AT, -8);
}

Test(cfi, malformed_programs_are_refused)
{
	static const struct {
		uint8_t bytes[14];
	} bad[] = {
		{{0x0b}},                                        /* nothing was remembered */
		{{0x0a, 0x0a, 0x0a, 0x0a, 0x0a}},                /* too deep */
		{{0x3f}},                                        /* no such instruction */
		{{0x0f, 0xff, 0xff, 0xff, 0x7f}},                /* expression past the end */
		{{0x0c, 7, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}}, /* CFA offset beyond 32 bits */
		{{0x0c, 99, 8}},                                 /* CFA in no register */
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct gy_cfi_entry entry;
		struct gy_cfi_row row;

		make_entry(&entry, bad[i].bytes, sizeof(bad[i].bytes));
		cr_assert_eq(gy_cfi_row(&entry, 0x1000, &row), -EINVAL, "program %zu", i);
	}
}

/* ---- expressions, seen through the CFA that they compute ---- */
static int step_with(const uint8_t *expression, size_t bytes, struct gy_cfi_registers *registers)
{
	uint8_t program[96] = {0x0f, (uint8_t)bytes};
	struct gy_stack_window window = {0, 0, {0, 0}};
	struct gy_cfi_entry entry;
	struct gy_cfi_row row;

	memcpy(program + 2, expression, bytes);
	make_entry(&entry, program, bytes + 2);
	cr_assert_eq(gy_cfi_row(&entry, 0x1000, &row), 0);
	return gy_cfi_step(&entry, &row, registers, &window);
}

/* A stack of words; the value computed is an index into it, where the CFA then lies. */
static uint64_t words[64];

static void expect_index(uint64_t index, const uint8_t *expression, size_t bytes)
{
	struct gy_cfi_registers registers = {
		.valid = GY_CFI_BIT(GY_CFI_RSP) | GY_CFI_BIT(GY_CFI_RIP) | GY_CFI_BIT(GY_CFI_RBX)};
	uint8_t program[64] = {0};
	size_t length = 0;

	for (unsigned i = 0; i < 64; i++)
		words[i] = 0x5000 + i;
	registers.value[GY_CFI_RSP] = (uintptr_t)words;
	registers.value[GY_CFI_RIP] = 0x1000;
	registers.value[GY_CFI_RBX] = 40;
	memcpy(program, expression, bytes);
	length = bytes;
	/* ... lit3, shl, breg7 0, plus */
	memcpy(program + length, (const uint8_t[]){0x33, 0x24, 0x77, 0, 0x22}, 5);
	cr_assert_eq(step_with(program, length + 5, &registers), 0);
	cr_assert_eq((registers.value[GY_CFI_RSP] - (uintptr_t)words) / 8, index, "%lu",
		     (unsigned long)(registers.value[GY_CFI_RSP] - (uintptr_t)words) / 8);
	cr_assert_eq(registers.value[GY_CFI_RIP], 0x5000 + index - 1);
}

#define INDEX(index, ...)                                                                          \
	expect_index(index, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

Test(cfi, expressions)
{
	INDEX(9, 0x39);                                     /* lit9 */
	INDEX(9, 0x08, 9);                                  /* const1u */
	INDEX(9, 0x39, 0x09, 0xff, 0x1e, 0x1f);             /* const1s -1, mul, neg */
	INDEX(9, 0x0a, 9, 0, 0x0b, 0, 0, 0x22);             /* const2u, const2s, plus */
	INDEX(9, 0x0c, 9, 0, 0, 0, 0x0d, 0, 0, 0, 0, 0x21); /* const4u, const4s, or */
	INDEX(9, 0x0e, 9, 0, 0, 0, 0, 0, 0, 0);             /* const8u */
	INDEX(9, 0x10, 9, 0x11, 0, 0x22);                   /* constu, consts */
	INDEX(9, 0x33, 0x12, 0x1e);                         /* dup, mul */
	INDEX(9, 0x39, 0x31, 0x13);                         /* drop */
	INDEX(9, 0x35, 0x34, 0x14, 0x13, 0x22);             /* over, drop, plus */
	INDEX(9, 0x34, 0x35, 0x15, 1, 0x13, 0x22);          /* pick */
	INDEX(9, 0x31, 0x3a, 0x16, 0x1c, 0x1f, 0x1f);       /* swap, minus */
	INDEX(9, 0x39, 0x31, 0x32, 0x17, 0x13);             /* rot: 9 1 2 becomes 2 9 1 */
	INDEX(9, 0x39, 0x1f, 0x19);                         /* neg, abs */
	INDEX(9, 0x39, 0x20, 0x20);                         /* not, not */
	INDEX(9, 0x3f, 0x39, 0x1a);                         /* 15 & 9 */
	INDEX(9, 0x35, 0x23, 4);                            /* plus_uconst */
	INDEX(9, 0x08, 18, 0x31, 0x25);                     /* shr */
	INDEX(9, 0x08, 18, 0x1f, 0x31, 0x26, 0x1f);         /* shra of a negative number */
	INDEX(9, 0x33, 0x3a, 0x27);                         /* 3 ^ 10 */
	INDEX(9, 0x38, 0x32, 0x31, 0x2b, 0x22);             /* 2 > 1 */
	INDEX(9, 0x38, 0x31, 0x31, 0x29, 0x22);             /* == */
	INDEX(9, 0x38, 0x31, 0x31, 0x2a, 0x22);             /* >= */
	INDEX(9, 0x38, 0x31, 0x31, 0x2c, 0x22);             /* <= */
	INDEX(9, 0x38, 0x30, 0x31, 0x2d, 0x22);             /* < */
	INDEX(9, 0x38, 0x30, 0x31, 0x2e, 0x22);             /* != */
	INDEX(9, 0x2f, 1, 0, 0x31, 0x39);                   /* skip */
	INDEX(9, 0x39, 0x31, 0x28, 1, 0, 0x31);             /* bra, taken */
	INDEX(10, 0x39, 0x30, 0x28, 2, 0, 0x31, 0x22);      /* bra, not taken */
	INDEX(8, 0x73, 0x60);                               /* breg3 -32 */
	INDEX(8, 0x92, 3, 0x60);                            /* bregx 3, -32 */
	INDEX(9, 0x77, 0x48 | 0, 0x06, 0x0a, 0x00, 0x50, 0x1c, 0x96, 0x13, 0x39); /* deref */
	/* the linker's: breg7 8, breg16 0, lit15, and, lit11, ge, lit3, shl, plus; minus rsp, >> 3
	 */
	INDEX(1, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22, 0x77, 0, 0x1c, 0x33,
	      0x25);
}

Test(cfi, expressions_that_make_no_sense)
{
	static const struct {
		uint8_t length, bytes[10];
		int error;
	} bad[] = {
		{0, {0}, -EINVAL},                      /* empty stack */
		{1, {0x13}, -EINVAL},                   /* drop from an empty stack */
		{3, {0x2f, 0xfd, 0xff}, -EINVAL},       /* jump to itself, for ever */
		{3, {0x2f, 0x70, 0}, -EINVAL},          /* jump out */
		{4, {0x31, 0x2f, 0xfc, 0xff}, -EINVAL}, /* push for ever */
		{3, {0x38, 0x06, 0x96}, -EINVAL},       /* deref of 8 */
		{3, {0x38, 0x31, 0x1b}, -EINVAL},       /* division */
		{2, {0x15, 3}, -EINVAL},                /* pick of nothing */
		{1, {0xe0}, -EINVAL},                   /* no such operation */
		{3, {0x92, 99, 0}, -EINVAL},            /* no such register */
		{2, {0x7f, 0}, -EAGAIN},                /* CFI-3: r15 is not known */
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct gy_cfi_registers registers = {.valid = GY_CFI_BIT(GY_CFI_RSP) |
							      GY_CFI_BIT(GY_CFI_RIP)};

		registers.value[GY_CFI_RSP] = (uintptr_t)words;
		cr_assert_eq(step_with(bad[i].bytes, bad[i].length, &registers), bad[i].error,
			     "expression %zu", i);
		cr_assert_eq(registers.value[GY_CFI_RSP], (uintptr_t)words,
			     "a failed step changes nothing");
	}
}

/* ---- garbage: CFI-1 ---- */
static uint64_t next_random(void)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

/* The extent of the tables of the object that holds this test, header to the end of .eh_frame. */
static size_t table_extent(const struct gy_loaded_object *object)
{
	const uint8_t *header = object->eh_frame_hdr, *at;
	int32_t to_frames;

	memcpy(&to_frames, header + 4, sizeof(to_frames));
	cr_assert_gt(to_frames, 0, "the header stands before the frames");
	for (at = header + 4 + to_frames;;) {
		uint32_t length;

		memcpy(&length, at, sizeof(length));
		at += 4 + length;
		if (!length)
			return (size_t)(at - header);
	}
}

static void probe_garbage(const struct gy_loaded_object *object, uintptr_t pc)
{
	struct gy_cfi_registers registers = {.valid = 0x1ffff};
	struct gy_stack_window window = {0, 0, {0, 0}};
	struct gy_cfi_entry entry;
	struct gy_cfi_row row;

	if (gy_cfi_find(object, pc, &entry) || gy_cfi_row(&entry, pc, &row))
		return;
	for (unsigned i = 0; i < GY_CFI_REGISTERS; i++)
		registers.value[i] = next_random() & 1 ? (uintptr_t)words + next_random() % 64 * 8
						       : next_random();
	gy_cfi_step(&entry, &row, &registers, &window);
}

Test(cfi, CFI_1_mutated_tables, .timeout = 120)
{
	struct gy_loaded_object real, copy;
	size_t bytes;
	uint8_t *table;

	cr_assert(gy_loaded_object_find((uintptr_t)probe_garbage, &real));
	bytes = table_extent(&real);
	/* an allocation of exactly that size: the address sanitizer sees one byte too many */
	table = malloc(bytes);
	copy = (struct gy_loaded_object){(uintptr_t)table, (uintptr_t)table + bytes, table, false};
	for (unsigned round = 0; round < 300; round++) {
		memcpy(table, real.eh_frame_hdr, bytes);
		for (unsigned i = 0; i < 1 + round; i++)
			table[next_random() % bytes] = (uint8_t)next_random();
		if (round % 4 == 0)
			table[next_random() % 12] = (uint8_t)next_random();
		for (unsigned i = 0; i < 300; i++) {
			uintptr_t pc = (uintptr_t)table -
				       ((uintptr_t)real.eh_frame_hdr - real.start) +
				       next_random() % (real.end - real.start);

			probe_garbage(&copy, pc);
		}
	}
	free(table);
}
