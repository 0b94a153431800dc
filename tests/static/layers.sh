#!/bin/sh
# lib/LAYERS against the #include lines of the library; and a proof that a breach would be found.
. "$GYRE_SRC/tests/lib.sh"

# breaches ROOT: one line for each include that climbs, or that names what LAYERS does not know.
breaches() {
	(cd "$1" && find lib -name '*.[ch]' | sort | xargs grep -HnE '^[[:space:]]*#[[:space:]]*include' | awk '
	BEGIN {
		while ((getline line < "lib/LAYERS") > 0) {
			sub(/#.*/, "", line)
			if (split(line, word, /[ \t]+/) && word[1] != "") rank[word[1]] = ++count
		}
		if (!count) print "lib/LAYERS lists nothing"
	}
	{
		split($0, part, ":")
		split(part[1], path, "/")
		layer = path[2]
		text = $0
		sub(/^[^:]*:[^:]*:/, "", text)
		if (!(layer in rank)) { print part[1] ": folder " layer " is not in lib/LAYERS"; next }
		if (match(text, /<gyre\/[^>]*>/)) next
		if (match(text, /<[^>]*>/)) next
		if (!match(text, /"[^"]*"/)) { print part[1] ":" part[2] ": include of neither form"; next }
		target = substr(text, RSTART + 1, RLENGTH - 2)
		if (target ~ /^gyre\//) next
		if (target ~ /^\.\.?\//) { print part[1] ":" part[2] ": relative include " target; next }
		# a header made by the build, named without a folder
		if (target !~ /\//) {
			if (target !~ /_table\.h$/) print part[1] ":" part[2] ": " target " names no module"
			next
		}
		split(target, to, "/")
		# The layout of the control page is a contract, not code: it includes libc alone, and anybody may use it.
		if (target == "control/control_page.h") next
		if (part[1] == "lib/control/control_page.h") print part[1] ":" part[2] ": the page layout includes " target
		else if (!(to[1] in rank)) print part[1] ":" part[2] ": " target " is of no module"
		else if (layer == "include") print part[1] ":" part[2] ": a public header includes " target
		else if (rank[to[1]] > rank[layer]) print part[1] ":" part[2] ": " layer " includes " target " above it"
	}')
}

found=$(breaches "$GYRE_SRC")
if [ -z "$found" ]; then ok "every include keeps to lib/LAYERS"; else
	echo "$found"
	not_ok "every include keeps to lib/LAYERS" "$(echo "$found" | head -n 1)"
fi

missing=$(cd "$GYRE_SRC" && for folder in lib/*/; do
	folder=$(basename "$folder")
	[ "$folder" = man ] || grep -q "^$folder[[:space:]]" lib/LAYERS || echo "$folder"
done)
if [ -z "$missing" ]; then ok "every folder of lib stands in lib/LAYERS"; else
	not_ok "every folder of lib stands in lib/LAYERS" "$missing"
fi

# The proof: one breach of each sort, in a copy.
mkdir -p "$TMPDIR/copy/lib"
cp -r "$GYRE_SRC/lib/." "$TMPDIR/copy/lib/"
mutate() { # NAME FILE LINE
	mkdir -p "$TMPDIR/copy/$(dirname "$2")"
	printf '%s\n' "$3" >"$TMPDIR/copy/$2"
	if breaches "$TMPDIR/copy" | grep -q "^$2"; then ok "$1"; else not_ok "$1" "the checker is blind to it"; fi
	rm "$TMPDIR/copy/$2"
}
mutate "finds a lower module that includes a higher one" lib/base/mutant.c '#include "heap/span.h"'
mutate "finds os including heap" lib/os/mutant.h '#  include "heap/heap.h"'
mutate "finds a public header that includes an internal one" lib/include/gyre/mutant.h '#include "base/compiler.h"'
mutate "finds an include by a relative path" lib/api/mutant.c '#include "../heap/heap.h"'
mutate "finds a module that nobody listed" lib/unlisted/mutant.c '#include <stdio.h>'
mkdir -p "$TMPDIR/copy/lib/control"
cp "$TMPDIR/copy/lib/control/control_page.h" "$TMPDIR/page" 2>/dev/null
mutate "finds the page layout including code" lib/control/control_page.h '#include "base/compiler.h"'
[ ! -f "$TMPDIR/page" ] || cp "$TMPDIR/page" "$TMPDIR/copy/lib/control/control_page.h"
mutate "finds an include from outside the library" lib/heap/mutant.c '#include "tools/gyre/main.h"'
