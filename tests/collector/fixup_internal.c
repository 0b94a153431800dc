/* fixup_internal.c - for fixup.test: is gy_barrier_fixup right about each instruction of a file?
 *
 *	fixup_internal FILE TEXT_ADDRESS TEXT_OFFSET TEXT_BYTES <disassembly
 *
 * The disassembly is objdump's: "  address:\tinstruction". It is the oracle: after the no-op whose
 * operand spells "Gyre" come cmpl, jne and mov, and these three, no other, go back to the no-op. The
 * file's text is looked at as it lies in the file. Prints how many sequences it saw, and in how many
 * of them the jump takes four bytes.
 */
#include "gc/barrier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *text;
static unsigned long text_address, text_bytes;

static int check(unsigned long address, unsigned long expected, const char *line)
{
	uintptr_t low = (uintptr_t)text;
	uintptr_t got = gy_barrier_fixup(low + address - text_address, low, low + text_bytes);

	if (got)
		got = got - low + text_address;
	if (got == expected)
		return 0;
	printf("at %#lx: goes to %#lx, not %#lx: %s", address, (unsigned long)got, expected, line);
	return 1;
}

int main(int argc, char **argv)
{
	static const char *const parts[] = {"cmpl ", "jne ", "mov "};
	unsigned long start = 0, offset, address, sequences = 0, others = 0, far = 0;
	unsigned part = 3;
	char line[512];
	int wrong = 0;
	FILE *file;

	if (argc != 5 || !(file = fopen(argv[1], "rb")))
		return 2;
	text_address = strtoul(argv[2], NULL, 16);
	offset = strtoul(argv[3], NULL, 16);
	text_bytes = strtoul(argv[4], NULL, 16);
	text = malloc(text_bytes);
	if (!text || fseek(file, (long)offset, SEEK_SET) ||
	    fread(text, 1, text_bytes, file) != text_bytes)
		return 2;
	fclose(file);
	while (fgets(line, sizeof(line), stdin)) {
		char *end, *what;

		address = strtoul(line, &end, 16);
		if (end == line || *end != ':' || address < text_address)
			continue;
		what = end + 1 + strspn(end + 1, " \t");
		if (part < 3) {
			if (strncmp(what, parts[part], strlen(parts[part])) &&
			    !(part == 2 && !strncmp(what, "movq ", 5))) {
				printf("at %#lx: no %s: %s", address, parts[part], line);
				wrong = 1;
			}
			far += part == 1 && text[address - text_address] == 0x0f;
			wrong |= check(address, start, line);
			part++;
			continue;
		}
		wrong |= check(address, 0, line);
		others++;
		if (strstr(what, "0x65727947(%rax)")) {
			start = address;
			part = 0;
			sequences++;
		}
	}
	if (part < 3 || !others)
		wrong = 1;
	printf("%lu sequences, %lu far, %lu other instructions\n", sequences, far, others);
	return wrong || !sequences;
}
