#!/bin/sh
# Each public header compiles alone, twice included, as C and as C++, with gcc and clang, without a
# warning, and includes nothing but libc.
. "$GYRE_SRC/tests/lib.sh"

for header in "$GYRE_SRC"/lib/include/gyre/*.h; do
	name=gyre/$(basename "$header")
	printf '#include <%s>\n#include <%s>\nint header_alone(void);\nint header_alone(void)\n{\n\treturn 0;\n}\n' "$name" "$name" >"$TMPDIR/alone.c"
	cp "$TMPDIR/alone.c" "$TMPDIR/alone.cc"
	flags="-I$GYRE_SRC/lib/include -Wall -Wextra -Wpedantic -Wconversion -Werror -fsyntax-only"
	for compiler in gcc clang; do
		for std in c99 c11 gnu2x; do
			check "$name alone, $compiler -std=$std" $compiler -std=$std -Wstrict-prototypes $flags "$TMPDIR/alone.c"
		done
		[ $compiler = gcc ] && cxx=g++ || cxx=clang++
		for std in c++11 c++20; do
			check "$name alone, $cxx -std=$std" $cxx -std=$std $flags "$TMPDIR/alone.cc"
		done
	done
	foreign=$(grep -nE '^#[[:space:]]*include' "$header" | grep -vE '<(gyre/[a-z_]+|std(def|int|bool|arg|io|lib)|sys/types|limits|time|errno)\.h>')
	if [ -z "$foreign" ]; then ok "$name includes libc headers only"; else not_ok "$name includes libc headers only" "$foreign"; fi
	bare=$(gcc -E -dD -P -I"$GYRE_SRC/lib/include" -include "$header" -x c /dev/null | grep -oE '^#define [A-Za-z_0-9]+' | sort -u >"$TMPDIR/with"
		printf '#include <stddef.h>\n#include <stdint.h>\n#include <stdbool.h>\n#include <stdio.h>\n#include <stdlib.h>\n' | gcc -E -dD -P -x c - | grep -oE '^#define [A-Za-z_0-9]+' |
			sort -u >"$TMPDIR/without"
		comm -23 "$TMPDIR/with" "$TMPDIR/without" | grep -vE '#define (GYRE|gyre)_' | head -n 3)
	if [ -z "$bare" ]; then ok "$name defines macros of its own name only"; else not_ok "$name defines macros of its own name only" "$bare"; fi
done
