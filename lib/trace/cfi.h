/* cfi.h - call frame information: from a pc to "where is the caller's frame".
 *
 * Code compiled without frame pointers (all of Debian's) carries tables instead: .eh_frame holds
 * one FDE a function, a program for a small machine whose output is a row: how to compute the
 * CFA (the caller's stack pointer at the call) and where the caller's registers were saved.
 * .eh_frame_hdr is an array of (function start, FDE), sorted, both relative to the header.
 *
 *	pc -> gy_cfi_find     binary search in .eh_frame_hdr, parse FDE and CIE     (cfi.c)
 *	   -> gy_cfi_row      run the CIE's program, then the FDE's, up to the pc   (cfi.c)
 *	   -> gy_cfi_step     apply the row to registers and stack: the caller's    (cfi_step.c)
 *
 * CFI-1  Every byte of a table is read through a cursor that ends where the object's mapping ends.
 *        Garbage gives -EINVAL, never a read outside and never an endless loop.
 * CFI-2  Every word of a stack is read through the window (stack_window.h).
 * CFI-3  A register whose value is not known is never used: -EAGAIN tells the caller to walk again
 *        with all callee-saved registers tracked.
 *
 * x86-64 only (registers 0 to 15 and the return address, 16); other machines walk frame pointers.
 * Not here: caching, frame pointers, when to stop (unwind.c).
 *
 * Sources: DWARF 5 section 6.4 and 7.24; LSB 5.0 "Exception Frames" (.eh_frame, augmentation zRS,
 * pointer encodings, .eh_frame_hdr); System V ABI for AMD64, table 3.36 (register numbers).
 */
#ifndef GY_TRACE_CFI_H
#define GY_TRACE_CFI_H

#include "trace/loaded_object.h"
#include "trace/stack_window.h"

enum {
	GY_CFI_RBX = 3,
	GY_CFI_RBP = 6,
	GY_CFI_RSP = 7,
	GY_CFI_R12 = 12,
	GY_CFI_R15 = 15,
	GY_CFI_RIP = 16, /* the return address column */
	GY_CFI_REGISTERS = 17,
};

#define GY_CFI_BIT(number) (1u << (number))

struct gy_cfi_registers {
	uint64_t value[GY_CFI_REGISTERS];
	uint32_t valid; /* bit per register; CFI-3 */
};

enum gy_cfi_how {
	GY_CFI_SAME,      /* nothing said: callee-saved ones keep their value */
	GY_CFI_UNDEFINED, /* gone; for the return address: the outermost frame */
	GY_CFI_AT,        /* saved at CFA + value */
	GY_CFI_IS,        /* is CFA + value */
	GY_CFI_REGISTER,  /* is in register `value` */
	GY_CFI_AT_EXPR,   /* saved at the address that the expression at `value` computes */
	GY_CFI_IS_EXPR,   /* is what the expression computes */
};

struct gy_cfi_rule {
	uint8_t how;   /* enum gy_cfi_how */
	int32_t value; /* expressions: where its length stands, counted from the FDE's start */
};

struct gy_cfi_row {
	struct gy_cfi_rule rules[GY_CFI_REGISTERS];
	bool cfa_is_expression;
	uint8_t cfa_register;
	int32_t cfa_value; /* offset, or expression as in a rule */
};

/* One FDE and its CIE, parsed. */
struct gy_cfi_entry {
	const uint8_t *fde;   /* its first byte: the length field */
	const uint8_t *limit; /* end of the object's mapping: CFI-1 */
	const uint8_t *cie_program, *cie_end;
	const uint8_t *fde_program, *fde_end;
	uintptr_t pc_begin, pc_end;
	uint64_t code_align;
	int64_t data_align;
	uint8_t pointer_encoding;
	bool signal_frame; /* augmentation S: the pc is the interrupted instruction itself */
};

/* The entry that covers `pc`: 0, -ENOENT if no table does, -EINVAL if the table is malformed. */
int gy_cfi_find(const struct gy_loaded_object *object, uintptr_t pc, struct gy_cfi_entry *entry);
/* Parses the FDE at `fde`, whatever pc it covers; what gy_cfi_find ends with. */
int gy_cfi_parse(const uint8_t *fde, const struct gy_loaded_object *object,
		 struct gy_cfi_entry *entry);
/* The row for `pc`, which the entry covers: 0 or -EINVAL. */
int gy_cfi_row(const struct gy_cfi_entry *entry, uintptr_t pc, struct gy_cfi_row *row);
/* True if the expression at `value` is "register + offset", dereferenced if `dereference`. */
bool gy_cfi_expression_is(const struct gy_cfi_entry *entry, int32_t value, unsigned number,
			  bool dereference, int32_t *offset);

/* Replaces the registers of a frame by its caller's.
 * 0; -ENOENT outermost frame; -EAGAIN a register is not known (CFI-3); -EINVAL no sense in it. */
int gy_cfi_step(const struct gy_cfi_entry *entry, const struct gy_cfi_row *row,
		struct gy_cfi_registers *registers, struct gy_stack_window *window);

/* A cursor over table bytes (CFI-1): past the end it yields 0 and stays bad. */
struct gy_cfi_cursor {
	const uint8_t *at, *end;
	bool bad;
};

uint64_t gy_cfi_bytes(struct gy_cfi_cursor *cursor, unsigned count);
uint64_t gy_cfi_uleb(struct gy_cfi_cursor *cursor);
int64_t gy_cfi_sleb(struct gy_cfi_cursor *cursor);

#endif
