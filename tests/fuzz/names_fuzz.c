/* names_fuzz.c - texts that the target makes: lines of maps, names to be cleaned, cut, demangled.
 */
#include "../../tools/gyre/target.c"

#include "fuzz.h"
#include "symbols_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char *text = malloc(length + 1), *copy;
	struct gy_symbol_level level = {0};
	struct gy_mapping mapping;
	size_t cut;

	fuzz_must(text != NULL);
	memcpy(text, bytes, length);
	text[length] = 0;
	copy = strdup(text);
	fuzz_must(copy != NULL);
	if (!mapping_parse(copy, &mapping))
		fuzz_must(mapping.path >= copy && mapping.path <= copy + strlen(text));
	gy_symbol_demangle(&level, text);
	free(level.function);
	free(level.linkage);
	for (int columns = 0; columns < 20; columns++) {
		cut = gy_out_cut(text, strlen(text), (size_t)columns);
		fuzz_must(cut <= strlen(text));
	}
	gy_out_clean(text);
	fuzz_must(!strpbrk(text, "\x1b\n\x7f"));
	free(copy);
	free(text);
	return 0;
}
