/* cfi_step.c - applying a row: expressions, and the step from a frame to its caller's; see cfi.h.
 *
 * CFA-STEP-1  The CFA of an ordinary frame lies above its stack pointer, is aligned to 8 and is the
 *             caller's stack pointer; so a walk climbs. Only a signal frame may lead elsewhere
 *             (from the alternate stack back to the interrupted one).
 */
#include "trace/cfi.h"

#include <errno.h>

enum {
	OP_ADDR = 0x03,
	OP_DEREF = 0x06,
	OP_CONST1U = 0x08,
	OP_CONST1S = 0x09,
	OP_CONST2U = 0x0a,
	OP_CONST2S = 0x0b,
	OP_CONST4U = 0x0c,
	OP_CONST4S = 0x0d,
	OP_CONST8U = 0x0e,
	OP_CONST8S = 0x0f,
	OP_CONSTU = 0x10,
	OP_CONSTS = 0x11,
	OP_DUP = 0x12,
	OP_DROP = 0x13,
	OP_OVER = 0x14,
	OP_PICK = 0x15,
	OP_SWAP = 0x16,
	OP_ROT = 0x17,
	OP_ABS = 0x19,
	OP_AND = 0x1a,
	OP_MINUS = 0x1c,
	OP_MUL = 0x1e,
	OP_NEG = 0x1f,
	OP_NOT = 0x20,
	OP_OR = 0x21,
	OP_PLUS = 0x22,
	OP_PLUS_UCONST = 0x23,
	OP_SHL = 0x24,
	OP_SHR = 0x25,
	OP_SHRA = 0x26,
	OP_XOR = 0x27,
	OP_BRA = 0x28,
	OP_EQ = 0x29,
	OP_GE = 0x2a,
	OP_GT = 0x2b,
	OP_LE = 0x2c,
	OP_LT = 0x2d,
	OP_NE = 0x2e,
	OP_SKIP = 0x2f,
	OP_LIT0 = 0x30,
	OP_LIT31 = 0x4f,
	OP_BREG0 = 0x70,
	OP_BREG31 = 0x8f,
	OP_BREGX = 0x92,
	OP_NOP = 0x96,
};

#define EXPRESSION_DEPTH 16u
#define EXPRESSION_STEPS 256u /* a branch backwards must not run for ever: CFI-1 */

struct evaluation {
	struct gy_cfi_cursor cursor;
	const uint8_t *begin;
	const struct gy_cfi_registers *registers;
	struct gy_stack_window *window;
	uint64_t stack[EXPRESSION_DEPTH];
	unsigned depth;
	int error;
};

static void fail(struct evaluation *e, int error)
{
	if (!e->error)
		e->error = error;
}

static void push(struct evaluation *e, uint64_t value)
{
	if (e->depth == EXPRESSION_DEPTH)
		fail(e, -EINVAL);
	else
		e->stack[e->depth++] = value;
}

static uint64_t pop(struct evaluation *e)
{
	if (!e->depth) {
		fail(e, -EINVAL);
		return 0;
	}
	return e->stack[--e->depth];
}

static uint64_t peek(struct evaluation *e, uint64_t from_top)
{
	if (from_top >= e->depth) {
		fail(e, -EINVAL);
		return 0;
	}
	return e->stack[e->depth - 1 - (unsigned)from_top];
}

static uint64_t register_value(struct evaluation *e, uint64_t number)
{
	if (number >= GY_CFI_REGISTERS) {
		fail(e, -EINVAL);
		return 0;
	}
	if (!(e->registers->valid & GY_CFI_BIT(number)))
		fail(e, -EAGAIN); /* CFI-3 */
	return e->registers->value[number];
}

static void jump(struct evaluation *e, int64_t distance)
{
	int64_t to = (int64_t)((uintptr_t)e->cursor.at - (uintptr_t)e->begin) + distance;

	if (to < 0 || to > (int64_t)((uintptr_t)e->cursor.end - (uintptr_t)e->begin))
		fail(e, -EINVAL);
	else
		e->cursor.at = e->begin + to;
}

/* Constants: true if `code` is one. */
static bool run_constant(struct evaluation *e, unsigned code)
{
	struct gy_cfi_cursor *cursor = &e->cursor;

	if (code >= OP_LIT0 && code <= OP_LIT31) {
		push(e, code - OP_LIT0);
		return true;
	}
	switch (code) {
	case OP_CONST1U:
		push(e, gy_cfi_bytes(cursor, 1));
		return true;
	case OP_CONST1S:
		push(e, (uint64_t)(int8_t)gy_cfi_bytes(cursor, 1));
		return true;
	case OP_CONST2U:
		push(e, gy_cfi_bytes(cursor, 2));
		return true;
	case OP_CONST2S:
		push(e, (uint64_t)(int16_t)gy_cfi_bytes(cursor, 2));
		return true;
	case OP_CONST4U:
		push(e, gy_cfi_bytes(cursor, 4));
		return true;
	case OP_CONST4S:
		push(e, (uint64_t)(int32_t)gy_cfi_bytes(cursor, 4));
		return true;
	case OP_ADDR:
	case OP_CONST8U:
	case OP_CONST8S:
		push(e, gy_cfi_bytes(cursor, 8));
		return true;
	case OP_CONSTU:
		push(e, gy_cfi_uleb(cursor));
		return true;
	case OP_CONSTS:
		push(e, (uint64_t)gy_cfi_sleb(cursor));
		return true;
	default:
		return false;
	}
}

static uint64_t shift_arithmetic(uint64_t value, uint64_t count)
{
	uint64_t sign = value >> 63 ? ~(uint64_t)0 : 0;

	if (count == 0)
		return value;
	return count > 63 ? sign : value >> count | sign << (64 - count);
}

/* Operators on two operands; `second` was on top. True if `code` is one. */
static bool run_binary(struct evaluation *e, unsigned code)
{
	uint64_t second, first, result;

	if (code == OP_ABS || code == OP_NEG || code == OP_NOT || code == OP_PLUS_UCONST ||
	    code == OP_BRA || code < OP_ABS || code > OP_NE)
		return false;
	second = pop(e);
	first = pop(e);
	switch (code) {
	case OP_AND:
		result = first & second;
		break;
	case OP_MINUS:
		result = first - second;
		break;
	case OP_MUL:
		result = first * second;
		break;
	case OP_OR:
		result = first | second;
		break;
	case OP_PLUS:
		result = first + second;
		break;
	case OP_SHL:
		result = second > 63 ? 0 : first << second;
		break;
	case OP_SHR:
		result = second > 63 ? 0 : first >> second;
		break;
	case OP_SHRA:
		result = shift_arithmetic(first, second);
		break;
	case OP_XOR:
		result = first ^ second;
		break;
	case OP_EQ:
		result = first == second;
		break;
	case OP_GE:
		result = (int64_t)first >= (int64_t)second;
		break;
	case OP_GT:
		result = (int64_t)first > (int64_t)second;
		break;
	case OP_LE:
		result = (int64_t)first <= (int64_t)second;
		break;
	case OP_LT:
		result = (int64_t)first < (int64_t)second;
		break;
	case OP_NE:
		result = first != second;
		break;
	default: /* division is not met in unwind tables */
		fail(e, -EINVAL);
		return true;
	}
	push(e, result);
	return true;
}

static void run_stack(struct evaluation *e, unsigned code)
{
	uint64_t top, second, third;

	switch (code) {
	case OP_DUP:
		push(e, peek(e, 0));
		break;
	case OP_DROP:
		pop(e);
		break;
	case OP_OVER:
		push(e, peek(e, 1));
		break;
	case OP_PICK:
		push(e, peek(e, gy_cfi_bytes(&e->cursor, 1)));
		break;
	case OP_SWAP:
		top = pop(e);
		second = pop(e);
		push(e, top);
		push(e, second);
		break;
	case OP_ROT:
		top = pop(e);
		second = pop(e);
		third = pop(e);
		push(e, top);
		push(e, third);
		push(e, second);
		break;
	default:
		fail(e, -EINVAL);
	}
}

static void run_other(struct evaluation *e, unsigned code)
{
	uint64_t value, number;

	switch (code) {
	case OP_DEREF:
		if (!gy_stack_window_read(e->window, pop(e), &value)) /* CFI-2 */
			fail(e, -EINVAL);
		else
			push(e, value);
		break;
	case OP_ABS:
		value = pop(e);
		push(e, value >> 63 ? 0 - value : value);
		break;
	case OP_NEG:
		push(e, 0 - pop(e));
		break;
	case OP_NOT:
		push(e, ~pop(e));
		break;
	case OP_PLUS_UCONST:
		value = pop(e);
		push(e, value + gy_cfi_uleb(&e->cursor));
		break;
	case OP_BRA:
		number = gy_cfi_bytes(&e->cursor, 2);
		if (pop(e))
			jump(e, (int16_t)number);
		break;
	case OP_SKIP:
		number = gy_cfi_bytes(&e->cursor, 2);
		jump(e, (int16_t)number);
		break;
	case OP_BREGX:
		number = gy_cfi_uleb(&e->cursor);
		value = register_value(e, number);
		push(e, value + (uint64_t)gy_cfi_sleb(&e->cursor));
		break;
	case OP_NOP:
		break;
	default:
		run_stack(e, code);
	}
}

/* The bytes of the expression at `value`; the length was checked when the row was made. */
static struct gy_cfi_cursor expression_bytes(const struct gy_cfi_entry *entry, int32_t value)
{
	struct gy_cfi_cursor cursor = {entry->fde + value, entry->limit, false};
	uint64_t length = gy_cfi_uleb(&cursor);

	if (length <= (uintptr_t)cursor.end - (uintptr_t)cursor.at)
		cursor.end = cursor.at + length;
	else
		cursor.bad = true;
	return cursor;
}

/* Runs an expression on a stack that holds `initial` if there is one. */
static int evaluate(const struct gy_cfi_entry *entry, int32_t value,
		    const struct gy_cfi_registers *registers, struct gy_stack_window *window,
		    const uint64_t *initial, uint64_t *result)
{
	struct evaluation e;

	e.cursor = expression_bytes(entry, value);
	e.begin = e.cursor.at;
	e.registers = registers;
	e.window = window;
	e.depth = 0;
	e.error = 0;
	if (initial)
		push(&e, *initial);
	for (unsigned step = 0; e.cursor.at < e.cursor.end && !e.cursor.bad && !e.error; step++) {
		unsigned code = (unsigned)gy_cfi_bytes(&e.cursor, 1);

		if (step == EXPRESSION_STEPS)
			fail(&e, -EINVAL);
		else if (code >= OP_BREG0 && code <= OP_BREG31)
			push(&e, register_value(&e, code - OP_BREG0) +
					 (uint64_t)gy_cfi_sleb(&e.cursor));
		else if (!run_constant(&e, code) && !run_binary(&e, code))
			run_other(&e, code);
	}
	*result = pop(&e);
	return e.cursor.bad ? -EINVAL : e.error;
}

bool gy_cfi_expression_is(const struct gy_cfi_entry *entry, int32_t value, unsigned number,
			  bool dereference, int32_t *offset)
{
	struct gy_cfi_cursor cursor = expression_bytes(entry, value);
	int64_t found;

	if (gy_cfi_bytes(&cursor, 1) != OP_BREG0 + number)
		return false;
	found = gy_cfi_sleb(&cursor);
	if (dereference && gy_cfi_bytes(&cursor, 1) != OP_DEREF)
		return false;
	*offset = (int32_t)found;
	return !cursor.bad && cursor.at == cursor.end && found == *offset;
}

/* The caller's value of one register into `to`; the valid bit is set or cleared. */
static int restore(const struct gy_cfi_entry *entry, const struct gy_cfi_rule *rule,
		   unsigned number, const struct gy_cfi_registers *from, uint64_t cfa,
		   struct gy_stack_window *window, struct gy_cfi_registers *to)
{
	uint64_t offset = (uint64_t)(int64_t)rule->value, value = 0;
	bool known = true;
	int error = 0;

	switch ((enum gy_cfi_how)rule->how) {
	case GY_CFI_SAME: {
		const uint32_t kept =
			GY_CFI_BIT(GY_CFI_RBX) | GY_CFI_BIT(GY_CFI_RBP) | 0xfu << GY_CFI_R12;

		value = from->value[number];
		known = (from->valid & kept & GY_CFI_BIT(number)) != 0;
		break;
	}
	case GY_CFI_UNDEFINED:
		known = false;
		break;
	case GY_CFI_AT:
		error = gy_stack_window_read(window, cfa + offset, &value) ? 0 : -EINVAL;
		break;
	case GY_CFI_IS:
		value = cfa + offset;
		break;
	case GY_CFI_REGISTER:
		known = offset < GY_CFI_REGISTERS && (from->valid & GY_CFI_BIT(offset));
		value = known ? from->value[offset] : 0;
		break;
	case GY_CFI_AT_EXPR:
		error = evaluate(entry, rule->value, from, window, &cfa, &value);
		if (!error && !gy_stack_window_read(window, value, &value))
			error = -EINVAL;
		break;
	case GY_CFI_IS_EXPR:
		error = evaluate(entry, rule->value, from, window, &cfa, &value);
		break;
	}
	to->value[number] = value;
	if (known && !error)
		to->valid |= GY_CFI_BIT(number);
	return error;
}

int gy_cfi_step(const struct gy_cfi_entry *entry, const struct gy_cfi_row *row,
		struct gy_cfi_registers *registers, struct gy_stack_window *window)
{
	const struct gy_cfi_registers from = *registers;
	uint64_t cfa;
	int error = 0;

	if (row->rules[GY_CFI_RIP].how == GY_CFI_UNDEFINED)
		return -ENOENT;
	if (row->cfa_is_expression) {
		error = evaluate(entry, row->cfa_value, &from, window, NULL, &cfa);
	} else {
		if (!(from.valid & GY_CFI_BIT(row->cfa_register)))
			error = -EAGAIN; /* CFI-3 */
		cfa = from.value[row->cfa_register] + (uint64_t)(int64_t)row->cfa_value;
	}
	if (error)
		return error;
	if (!entry->signal_frame && (cfa <= from.value[GY_CFI_RSP] || (cfa & 7)))
		return -EINVAL; /* CFA-STEP-1 */
	registers->valid = 0;
	for (unsigned i = 0; i < GY_CFI_REGISTERS && !error; i++) {
		if (i == GY_CFI_RSP && row->rules[i].how == GY_CFI_SAME) {
			registers->value[i] = cfa;
			registers->valid |= GY_CFI_BIT(i);
		} else {
			error = restore(entry, &row->rules[i], i, &from, cfa, window, registers);
		}
	}
	if (!error && !(registers->valid & GY_CFI_BIT(GY_CFI_RIP)))
		error = row->rules[GY_CFI_RIP].how == GY_CFI_REGISTER ? -EAGAIN : -EINVAL;
	if (error)
		*registers = from;
	return error;
}
