/* cfi.c - reading .eh_frame_hdr and .eh_frame, and running its programs; see cfi.h.
 *
 * Only what compilers and linkers emit is understood: table encoding datarel|sdata4, 32-bit
 * lengths, CIE versions 1 and 3, augmentations that start with z. Anything else is -EINVAL or
 * -ENOENT and the walk goes on by frame pointers. */
#include "trace/cfi.h"

#include <errno.h>
#include <string.h>

/* DW_EH_PE_*: the low half is the format, the high half what it is relative to. */
enum {
	ENCODE_ABSOLUTE = 0x00,
	ENCODE_ULEB = 0x01,
	ENCODE_UDATA2 = 0x02,
	ENCODE_UDATA4 = 0x03,
	ENCODE_UDATA8 = 0x04,
	ENCODE_SLEB = 0x09,
	ENCODE_SDATA2 = 0x0a,
	ENCODE_SDATA4 = 0x0b,
	ENCODE_SDATA8 = 0x0c,
	ENCODE_FORMAT = 0x0f,
	ENCODE_PC_RELATIVE = 0x10,
	ENCODE_DATA_RELATIVE = 0x30,
	ENCODE_RELATION = 0x70,
	ENCODE_OMIT = 0xff,
};

enum {
	CFA_NOP = 0x00,
	CFA_SET_LOC = 0x01,
	CFA_ADVANCE1 = 0x02,
	CFA_ADVANCE2 = 0x03,
	CFA_ADVANCE4 = 0x04,
	CFA_OFFSET_EXTENDED = 0x05,
	CFA_RESTORE_EXTENDED = 0x06,
	CFA_UNDEFINED = 0x07,
	CFA_SAME_VALUE = 0x08,
	CFA_REGISTER = 0x09,
	CFA_REMEMBER = 0x0a,
	CFA_RECALL = 0x0b,
	CFA_DEF_CFA = 0x0c,
	CFA_DEF_CFA_REGISTER = 0x0d,
	CFA_DEF_CFA_OFFSET = 0x0e,
	CFA_DEF_CFA_EXPRESSION = 0x0f,
	CFA_EXPRESSION = 0x10,
	CFA_OFFSET_EXTENDED_SF = 0x11,
	CFA_DEF_CFA_SF = 0x12,
	CFA_DEF_CFA_OFFSET_SF = 0x13,
	CFA_VAL_OFFSET = 0x14,
	CFA_VAL_OFFSET_SF = 0x15,
	CFA_VAL_EXPRESSION = 0x16,
	CFA_GNU_ARGS_SIZE = 0x2e,
	CFA_GNU_NEGATIVE_OFFSET = 0x2f,
	/* the two highest bits; the operand is in the other six */
	CFA_ADVANCE = 0x40,
	CFA_OFFSET = 0x80,
	CFA_RESTORE = 0xc0,
	CFA_OPERAND = 0x3f,
};

#define REMEMBER_DEPTH 4u /* compilers nest one deep */

uint64_t gy_cfi_bytes(struct gy_cfi_cursor *cursor, unsigned count)
{
	uint64_t value = 0;

	if (cursor->bad || (uintptr_t)cursor->end - (uintptr_t)cursor->at < count) {
		cursor->bad = true;
		return 0;
	}
	memcpy(&value, cursor->at, count); /* little-endian: x86-64 */
	cursor->at += count;
	return value;
}

/* LEB128: seven bits a byte; signed, the last byte's sixth bit is that of the whole. */
static uint64_t leb(struct gy_cfi_cursor *cursor, bool is_signed)
{
	uint64_t value = 0;
	unsigned shift = 0;
	uint64_t byte;

	do {
		byte = gy_cfi_bytes(cursor, 1);
		if (shift < 64)
			value |= (byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	if (is_signed && shift < 64 && (byte & 0x40))
		value |= ~(uint64_t)0 << shift;
	return value;
}

uint64_t gy_cfi_uleb(struct gy_cfi_cursor *cursor)
{
	return leb(cursor, false);
}

int64_t gy_cfi_sleb(struct gy_cfi_cursor *cursor)
{
	return (int64_t)leb(cursor, true);
}

static uint64_t sign_extend(uint64_t value, unsigned bits)
{
	uint64_t sign = (uint64_t)1 << (bits - 1);

	return (value ^ sign) - sign;
}

/* A pointer in `encoding`; the base for the data-relative form is not used inside .eh_frame. */
static uint64_t take_pointer(struct gy_cfi_cursor *cursor, unsigned encoding)
{
	uintptr_t place = (uintptr_t)cursor->at;
	uint64_t value;

	switch (encoding & ENCODE_FORMAT) {
	case ENCODE_ABSOLUTE:
	case ENCODE_UDATA8:
	case ENCODE_SDATA8:
		value = gy_cfi_bytes(cursor, 8);
		break;
	case ENCODE_ULEB:
		value = gy_cfi_uleb(cursor);
		break;
	case ENCODE_SLEB:
		value = (uint64_t)gy_cfi_sleb(cursor);
		break;
	case ENCODE_UDATA2:
		value = gy_cfi_bytes(cursor, 2);
		break;
	case ENCODE_SDATA2:
		value = sign_extend(gy_cfi_bytes(cursor, 2), 16);
		break;
	case ENCODE_UDATA4:
		value = gy_cfi_bytes(cursor, 4);
		break;
	case ENCODE_SDATA4:
		value = sign_extend(gy_cfi_bytes(cursor, 4), 32);
		break;
	default:
		cursor->bad = true;
		return 0;
	}
	switch (encoding & ENCODE_RELATION) {
	case 0:
		return value;
	case ENCODE_PC_RELATIVE:
		return value + place;
	default:
		cursor->bad = true;
		return 0;
	}
}

/* The string after 'z': what each letter adds to the augmentation data. */
static int parse_augmentation(const char *letters, struct gy_cfi_cursor *cursor,
			      struct gy_cfi_entry *entry)
{
	for (; *letters; letters++) {
		switch (*letters) {
		case 'R':
			entry->pointer_encoding = (uint8_t)gy_cfi_bytes(cursor, 1);
			break;
		case 'L':
			gy_cfi_bytes(cursor, 1);
			break;
		case 'P': {
			unsigned encoding = (unsigned)gy_cfi_bytes(cursor, 1);

			/* Only its length matters. */
			if (encoding != ENCODE_OMIT)
				take_pointer(cursor, encoding & ENCODE_FORMAT);
			break;
		}
		case 'S':
			entry->signal_frame = true;
			break;
		case 'B': /* AArch64's pointer authentication key: no data */
			break;
		default:
			return -EINVAL;
		}
	}
	return 0;
}

/* Length and identity of the record at `at`; false if it does not fit. */
static bool open_record(const uint8_t *at, const uint8_t *limit, struct gy_cfi_cursor *cursor)
{
	uint64_t length;

	*cursor = (struct gy_cfi_cursor){at, limit, false};
	length = gy_cfi_bytes(cursor, 4);
	if (cursor->bad || length < 4 || length >= 0xfffffff0u ||
	    length > (uintptr_t)limit - (uintptr_t)cursor->at)
		return false;
	cursor->end = cursor->at + length;
	return true;
}

static int parse_cie(const uint8_t *cie, struct gy_cfi_entry *entry, bool *has_data)
{
	struct gy_cfi_cursor cursor;
	const char *letters;
	uint64_t version, bytes;
	const uint8_t *program;
	int error = 0;

	if (!open_record(cie, entry->limit, &cursor) || gy_cfi_bytes(&cursor, 4) != 0)
		return -EINVAL;
	version = gy_cfi_bytes(&cursor, 1);
	if (version != 1 && version != 3)
		return -EINVAL;
	letters = (const char *)cursor.at;
	while (gy_cfi_bytes(&cursor, 1))
		;
	if (cursor.bad || (*letters && *letters != 'z'))
		return -EINVAL;
	entry->code_align = gy_cfi_uleb(&cursor);
	entry->data_align = gy_cfi_sleb(&cursor);
	if ((version == 1 ? gy_cfi_bytes(&cursor, 1) : gy_cfi_uleb(&cursor)) != GY_CFI_RIP)
		return -EINVAL;
	entry->pointer_encoding = ENCODE_ABSOLUTE;
	*has_data = *letters == 'z';
	if (*has_data) {
		bytes = gy_cfi_uleb(&cursor);
		if (cursor.bad || bytes > (uintptr_t)cursor.end - (uintptr_t)cursor.at)
			return -EINVAL;
		program = cursor.at + bytes;
		error = parse_augmentation(letters + 1, &cursor, entry);
		cursor.at = program;
	}
	if (cursor.bad || error)
		return -EINVAL;
	entry->cie_program = cursor.at;
	entry->cie_end = cursor.end;
	return 0;
}

int gy_cfi_parse(const uint8_t *fde, const struct gy_loaded_object *object,
		 struct gy_cfi_entry *entry)
{
	struct gy_cfi_cursor cursor;
	uintptr_t place;
	uint64_t back, bytes;
	bool has_data;

	*entry = (struct gy_cfi_entry){.fde = fde, .limit = (const uint8_t *)object->end};
	if (!gy_loaded_object_holds(object, (uintptr_t)fde) ||
	    !open_record(fde, entry->limit, &cursor))
		return -EINVAL;
	place = (uintptr_t)cursor.at;
	back = gy_cfi_bytes(&cursor, 4);
	if (!back || back > place - object->start ||
	    parse_cie((const uint8_t *)(place - back), entry, &has_data))
		return -EINVAL;
	entry->pc_begin = take_pointer(&cursor, entry->pointer_encoding);
	entry->pc_end =
		entry->pc_begin + take_pointer(&cursor, entry->pointer_encoding & ENCODE_FORMAT);
	if (has_data) {
		bytes = gy_cfi_uleb(&cursor);
		if (cursor.bad || bytes > (uintptr_t)cursor.end - (uintptr_t)cursor.at)
			return -EINVAL;
		cursor.at += bytes;
	}
	entry->fde_program = cursor.at;
	entry->fde_end = cursor.end;
	return cursor.bad ? -EINVAL : 0;
}

static int32_t take_table_word(const uint8_t *table, uint64_t index)
{
	int32_t word;

	memcpy(&word, table + index * sizeof(word), sizeof(word));
	return word;
}

int gy_cfi_find(const struct gy_loaded_object *object, uintptr_t pc, struct gy_cfi_entry *entry)
{
	const uint8_t *header = object->eh_frame_hdr;
	struct gy_cfi_cursor cursor = {header, (const uint8_t *)object->end, false};
	uint64_t count, low = 0, high, encodings;
	int64_t key;

	if (!header || !gy_loaded_object_holds(object, (uintptr_t)header))
		return -ENOENT;
	key = (int64_t)(pc - (uintptr_t)header);
	encodings = gy_cfi_bytes(&cursor, 4); /* version, frame pointer, count, table */
	if ((encodings & 0xff) != 1 || encodings >> 24 != (ENCODE_DATA_RELATIVE | ENCODE_SDATA4))
		return -ENOENT;
	take_pointer(&cursor, encodings >> 8 & ENCODE_FORMAT);
	count = take_pointer(&cursor, encodings >> 16 & ENCODE_FORMAT);
	if (cursor.bad || count > ((uintptr_t)cursor.end - (uintptr_t)cursor.at) / 8)
		return -EINVAL;
	/* The last entry that starts at or before the pc is between low and high. */
	for (high = count; low < high;) {
		uint64_t middle = low + (high - low) / 2;

		if (take_table_word(cursor.at, 2 * middle) <= key)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low)
		return -ENOENT;
	header += take_table_word(cursor.at, 2 * low - 1);
	if (gy_cfi_parse(header, object, entry))
		return -EINVAL;
	return pc - entry->pc_begin < entry->pc_end - entry->pc_begin ? 0 : -ENOENT;
}

/* The machine: the row being made, the CIE's row for `restore`, and the remembered ones. */
struct machine {
	const struct gy_cfi_entry *entry;
	struct gy_cfi_cursor cursor;
	uintptr_t location;
	struct gy_cfi_row row, initial;
	struct gy_cfi_row remembered[REMEMBER_DEPTH];
	unsigned depth;
};

static void set_rule(struct machine *machine, uint64_t number, enum gy_cfi_how how, int64_t value)
{
	if (value != (int32_t)value)
		machine->cursor.bad = true;
	else if (number < GY_CFI_REGISTERS) /* vector registers and the like are no one's concern */
		machine->row.rules[number] = (struct gy_cfi_rule){(uint8_t)how, (int32_t)value};
}

static int64_t scaled(const struct machine *machine, int64_t factored)
{
	return (int64_t)((uint64_t)factored * (uint64_t)machine->entry->data_align);
}

/* Steps over an expression; what is kept is where it stands, from the FDE's start. */
static int64_t take_expression(struct machine *machine)
{
	int64_t place = (int64_t)((uintptr_t)machine->cursor.at - (uintptr_t)machine->entry->fde);
	uint64_t bytes = gy_cfi_uleb(&machine->cursor);

	if (bytes > (uintptr_t)machine->cursor.end - (uintptr_t)machine->cursor.at)
		machine->cursor.bad = true;
	else
		machine->cursor.at += bytes;
	return place;
}

static void set_cfa(struct machine *machine, uint64_t number, int64_t offset)
{
	if (number >= GY_CFI_REGISTERS || offset != (int32_t)offset) {
		machine->cursor.bad = true;
		return;
	}
	machine->row.cfa_is_expression = false;
	machine->row.cfa_register = (uint8_t)number;
	machine->row.cfa_value = (int32_t)offset;
}

static void remember(struct machine *machine)
{
	if (machine->depth == REMEMBER_DEPTH)
		machine->cursor.bad = true;
	else
		machine->remembered[machine->depth++] = machine->row;
}

static void recall(struct machine *machine)
{
	if (!machine->depth)
		machine->cursor.bad = true;
	else
		machine->row = machine->remembered[--machine->depth];
}

/* The instructions that define the CFA; false if `code` is none of them. */
static bool run_cfa(struct machine *machine, unsigned code)
{
	struct gy_cfi_cursor *cursor = &machine->cursor;
	uint64_t number;

	switch (code) {
	case CFA_DEF_CFA:
		number = gy_cfi_uleb(cursor);
		set_cfa(machine, number, (int64_t)gy_cfi_uleb(cursor));
		return true;
	case CFA_DEF_CFA_SF:
		number = gy_cfi_uleb(cursor);
		set_cfa(machine, number, scaled(machine, gy_cfi_sleb(cursor)));
		return true;
	case CFA_DEF_CFA_REGISTER:
		set_cfa(machine, gy_cfi_uleb(cursor), machine->row.cfa_value);
		return true;
	case CFA_DEF_CFA_OFFSET:
		set_cfa(machine, machine->row.cfa_register, (int64_t)gy_cfi_uleb(cursor));
		return true;
	case CFA_DEF_CFA_OFFSET_SF:
		set_cfa(machine, machine->row.cfa_register, scaled(machine, gy_cfi_sleb(cursor)));
		return true;
	case CFA_DEF_CFA_EXPRESSION: {
		int64_t place = take_expression(machine);

		set_cfa(machine, 0, place);
		machine->row.cfa_is_expression = true;
		return true;
	}
	default:
		return false;
	}
}

/* The instructions about one register, whose number is their first operand. */
static void run_register(struct machine *machine, unsigned code)
{
	struct gy_cfi_cursor *cursor = &machine->cursor;
	uint64_t number = gy_cfi_uleb(cursor);

	switch (code) {
	case CFA_OFFSET_EXTENDED:
		set_rule(machine, number, GY_CFI_AT, scaled(machine, (int64_t)gy_cfi_uleb(cursor)));
		break;
	case CFA_OFFSET_EXTENDED_SF:
		set_rule(machine, number, GY_CFI_AT, scaled(machine, gy_cfi_sleb(cursor)));
		break;
	case CFA_GNU_NEGATIVE_OFFSET:
		set_rule(machine, number, GY_CFI_AT,
			 scaled(machine, (int64_t)(0 - gy_cfi_uleb(cursor))));
		break;
	case CFA_VAL_OFFSET:
		set_rule(machine, number, GY_CFI_IS, scaled(machine, (int64_t)gy_cfi_uleb(cursor)));
		break;
	case CFA_VAL_OFFSET_SF:
		set_rule(machine, number, GY_CFI_IS, scaled(machine, gy_cfi_sleb(cursor)));
		break;
	case CFA_RESTORE_EXTENDED:
		if (number < GY_CFI_REGISTERS)
			machine->row.rules[number] = machine->initial.rules[number];
		break;
	case CFA_UNDEFINED:
		set_rule(machine, number, GY_CFI_UNDEFINED, 0);
		break;
	case CFA_SAME_VALUE:
		set_rule(machine, number, GY_CFI_SAME, 0);
		break;
	case CFA_REGISTER:
		set_rule(machine, number, GY_CFI_REGISTER, (int64_t)gy_cfi_uleb(cursor));
		break;
	case CFA_EXPRESSION:
		set_rule(machine, number, GY_CFI_AT_EXPR, take_expression(machine));
		break;
	case CFA_VAL_EXPRESSION:
		set_rule(machine, number, GY_CFI_IS_EXPR, take_expression(machine));
		break;
	default:
		cursor->bad = true;
	}
}

/* Everything but the three codes with an operand in their low bits. */
static void run_extended(struct machine *machine, unsigned code)
{
	struct gy_cfi_cursor *cursor = &machine->cursor;
	const struct gy_cfi_entry *entry = machine->entry;

	switch (code) {
	case CFA_NOP:
		break;
	case CFA_SET_LOC:
		machine->location = take_pointer(cursor, entry->pointer_encoding);
		break;
	case CFA_ADVANCE1:
		machine->location += gy_cfi_bytes(cursor, 1) * entry->code_align;
		break;
	case CFA_ADVANCE2:
		machine->location += gy_cfi_bytes(cursor, 2) * entry->code_align;
		break;
	case CFA_ADVANCE4:
		machine->location += gy_cfi_bytes(cursor, 4) * entry->code_align;
		break;
	case CFA_REMEMBER:
		remember(machine);
		break;
	case CFA_RECALL:
		recall(machine);
		break;
	case CFA_GNU_ARGS_SIZE:
		gy_cfi_uleb(cursor);
		break;
	default:
		if (!run_cfa(machine, code))
			run_register(machine, code);
	}
}

/* Runs one program until its end, or until it speaks of what lies behind `pc`. */
static bool run_program(struct machine *machine, const uint8_t *program, const uint8_t *end,
			uintptr_t pc)
{
	struct gy_cfi_cursor *cursor = &machine->cursor;

	*cursor = (struct gy_cfi_cursor){program, end, false};
	while (cursor->at < cursor->end && !cursor->bad) {
		unsigned code = (unsigned)gy_cfi_bytes(cursor, 1);
		unsigned operand = code & CFA_OPERAND;

		switch (code & ~(unsigned)CFA_OPERAND) {
		case CFA_ADVANCE:
			machine->location += operand * machine->entry->code_align;
			break;
		case CFA_OFFSET:
			set_rule(machine, operand, GY_CFI_AT,
				 scaled(machine, (int64_t)gy_cfi_uleb(cursor)));
			break;
		case CFA_RESTORE:
			if (operand < GY_CFI_REGISTERS)
				machine->row.rules[operand] = machine->initial.rules[operand];
			break;
		default:
			run_extended(machine, code);
		}
		if (machine->location > pc)
			break;
	}
	return !cursor->bad;
}

int gy_cfi_row(const struct gy_cfi_entry *entry, uintptr_t pc, struct gy_cfi_row *row)
{
	struct machine machine;

	machine.entry = entry;
	machine.location = 0;
	machine.depth = 0;
	memset(&machine.row, 0, sizeof(machine.row));
	machine.row.cfa_register = GY_CFI_REGISTERS; /* none named yet */
	machine.initial = machine.row;
	if (!run_program(&machine, entry->cie_program, entry->cie_end, UINTPTR_MAX))
		return -EINVAL;
	machine.initial = machine.row;
	machine.location = entry->pc_begin;
	machine.depth = 0;
	if (!run_program(&machine, entry->fde_program, entry->fde_end, pc))
		return -EINVAL;
	if (!machine.row.cfa_is_expression && machine.row.cfa_register >= GY_CFI_REGISTERS)
		return -EINVAL;
	*row = machine.row;
	return 0;
}
