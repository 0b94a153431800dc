#!/bin/sh
# What may not stand in the tree: marks of unfinished work, paths of one machine, files that have
# outgrown one idea, C files without an opening comment.
. "$GYRE_SRC/tests/lib.sh"
cd "$GYRE_SRC" || exit 1
files=$(find lib bpf tools Makefile -type f \( -name '*.[ch]' -o -name '*.def' -o -name '*.sh' -o -name Makefile -o -name '*.[1-9]' \))

word="TO""DO|FIX""ME|XX""X|HA""CK|not impl""emented"
found=$(grep -nE "\\b($word)\\b" $files | head -n 3)
if [ -z "$found" ]; then ok "no marks of unfinished work"; else not_ok "no marks of unfinished work" "$found"; fi

found=$(grep -rnIE "/ho""me/|/ro""ot/|/wo""rk/|/tm""p/[a-z]" lib bpf tools tests kernel-notes Makefile README.md CHANGELOG.md 2>/dev/null | head -n 3)
if [ -z "$found" ]; then ok "no paths that belong to one machine"; else not_ok "no paths that belong to one machine" "$found"; fi

found=$(find lib bpf tools -name '*.[ch]' -exec wc -l {} + | awk '$2 != "total" && $1 > 800 { print $2 " (" $1 " lines)" }')
if [ -z "$found" ]; then ok "no file over 800 lines"; else not_ok "no file over 800 lines" "$found"; fi

found=$(for file in $(find lib bpf tools kernel-notes -name '*.[ch]'); do
	name=$(basename "$file")
	head -n 3 "$file" | grep -qF "$name - " || echo "$file"
done)
if [ -z "$found" ]; then ok "each C file opens with its name and what it is"; else
	not_ok "each C file opens with its name and what it is" "$(echo "$found" | tr '\n' ' ')"
fi

found=$(for file in $(find lib bpf tools -name '*.[ch]'); do
	expand "$file" | awk -v file="$file" 'length($0) > 100 { print file ":" FNR }'
done | head -n 5)
if [ -z "$found" ]; then ok "no line over 100 columns"; else not_ok "no line over 100 columns" "$(echo "$found" | tr '\n' ' ')"; fi
