/* place.c - see place.h. */
#include "place.h"

#include <asm/ptrace.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	size_t offset;
} registers[] = {
	{"%rax", offsetof(struct pt_regs, rax)}, {"%rbx", offsetof(struct pt_regs, rbx)},
	{"%rcx", offsetof(struct pt_regs, rcx)}, {"%rdx", offsetof(struct pt_regs, rdx)},
	{"%rsi", offsetof(struct pt_regs, rsi)}, {"%rdi", offsetof(struct pt_regs, rdi)},
	{"%rbp", offsetof(struct pt_regs, rbp)}, {"%rsp", offsetof(struct pt_regs, rsp)},
	{"%r8", offsetof(struct pt_regs, r8)},	 {"%r9", offsetof(struct pt_regs, r9)},
	{"%r10", offsetof(struct pt_regs, r10)}, {"%r11", offsetof(struct pt_regs, r11)},
	{"%r12", offsetof(struct pt_regs, r12)}, {"%r13", offsetof(struct pt_regs, r13)},
	{"%r14", offsetof(struct pt_regs, r14)}, {"%r15", offsetof(struct pt_regs, r15)},
};

/* The register that is named at *at, up to a delimiter; moves *at behind it. */
static int register_parse(const char **at, uint16_t *offset)
{
	size_t length = strcspn(*at, " )");

	for (size_t i = 0; i < sizeof(registers) / sizeof(registers[0]); i++)
		if (strlen(registers[i].name) == length &&
		    !strncmp(*at, registers[i].name, length)) {
			*offset = (uint16_t)registers[i].offset;
			*at += length;
			return 0;
		}
	return -ENOTSUP;
}

/* One of the three forms of place.h; moves *at behind it. */
static int argument_parse(const char **at, struct gyre_argument *argument)
{
	char *end;

	if (**at == '-') /* signed: at full length it is the same */
		++*at;
	if (strncmp(*at, "8@", 2))
		return -ENOTSUP;
	*at += 2;
	if (**at == '%') {
		argument->kind = GYRE_ARGUMENT_REGISTER;
		return register_parse(at, &argument->place);
	}
	argument->kind = **at == '$' ? GYRE_ARGUMENT_CONSTANT : GYRE_ARGUMENT_MEMORY;
	*at += **at == '$';
	argument->value = strtoull(*at, &end, 0);
	if (argument->kind == GYRE_ARGUMENT_CONSTANT && end == *at)
		return -ENOTSUP;
	*at = end;
	if (argument->kind == GYRE_ARGUMENT_CONSTANT)
		return 0;
	if (*(*at)++ != '(' || register_parse(at, &argument->place))
		return -ENOTSUP;
	return *(*at)++ == ')' ? 0 : -ENOTSUP;
}

/* Neighbours in memory are read at once. */
static bool is_array(const struct gyre_place *place)
{
	const struct gyre_argument *first = &place->arguments[0];

	for (uint32_t i = 0; i < place->count; i++) {
		const struct gyre_argument *argument = &place->arguments[i];

		if (argument->kind != GYRE_ARGUMENT_MEMORY || argument->place != first->place ||
		    argument->value != first->value + 8ull * i)
			return false;
	}
	return place->count;
}

int gy_place_parse(const char *text, struct gyre_place *place)
{
	const char *at = text;

	memset(place, 0, sizeof(*place));
	while (*(at += strspn(at, " "))) {
		if (place->count == GYRE_EVENT_ARGUMENTS)
			return -ENOTSUP;
		if (argument_parse(&at, &place->arguments[place->count++]))
			return -ENOTSUP;
		if (*at && *at != ' ')
			return -ENOTSUP;
	}
	place->array = is_array(place);
	return 0;
}

