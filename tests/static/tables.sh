#!/bin/sh
# The manuals against the tables and the code: every option, probe, system call and public function
# is described; every object of the command has its page; roff has nothing to warn about; and what
# README.md and the manuals tell people to type exists.
. "$GYRE_SRC/tests/lib.sh"
cd "$GYRE_SRC" || exit 1
man=$GYRE_BUILD/man

missing() { # NAME PAGE WORDS-ON-STDIN
	lost=$(while read -r word; do grep -qF -- "$word" "$2" || echo "$word"; done)
	if [ -z "$lost" ]; then ok "$1"; else not_ok "$1" "$(echo "$lost" | tr '\n' ' ')"; fi
}
check "the manuals are made" ${MAKE:-make} --no-print-directory O="$GYRE_BUILD" man
sed -n 's/^OPTION(\([a-z_]*\),.*/\1/p' lib/base/options.def | missing "gyre(7) describes every option" "$man/man7/gyre.7"
sed -n 's/^PROBE([a-z]*, \([a-z_]*\),.*/gyre:\1/p' lib/base/probes.def | missing "gyre-probes(7) describes every probe" "$man/man7/gyre-probes.7"
sed -n 's/^SYS_CALL([0-9]*, \([a-z_]*\),.*/\1/p' lib/os/sys_calls.def | missing "gyre(7) lists every call for fault injection" "$man/man7/gyre.7"

# The other way: a library that is asked about an option that its manual names must know it.
# (`extern` marks what only the headers' own macros call.)
declared=$(cat lib/include/gyre/*.h | grep -vE '^(static|template|inline|extern) ?' | sed -n 's/^[a-z].*[ *]\(gyre_[a-z0-9_]*\)(.*/\1/p' | sort -u)
for name in $declared; do
	grep -lqE "^\.SH NAME|$name" "$man"/man3/*.3 2>/dev/null && grep -qE "^$name\b|, $name\b|^$name, " "$man"/man3/*.3 && continue
	lost="${lost:-} $name"
done
if [ -z "${lost:-}" ]; then ok "every function of the public headers has a page in section 3"; else not_ok "every function of the public headers has a page in section 3" "$lost"; fi

# text that the header's authors must give for each: STYLE's fields
for page in "$man"/man3/*.3; do
	name=$(basename "$page")
	[ "$name" = gyre_version.3 ] && continue
	for field in Returns Errors Threads Signals Since; do
		grep -qE "^\.B .*$field" "$page" || { not_ok "$name says Returns, Errors, Threads, Signals, Since" "no $field"; continue 2; }
	done
	ok "$name says Returns, Errors, Threads, Signals, Since"
done

objects=$(ls tools/gyre/cmd_*.c 2>/dev/null | sed 's|.*/cmd_\(.*\)\.c|\1|')
[ -n "$objects" ] || not_ok "the command has objects" "no tools/gyre/cmd_*.c"
for object in $objects; do
	if [ -f "$man/man8/gyre-$object.8" ]; then ok "gyre-$object(8) exists"; else not_ok "gyre-$object(8) exists" "no such page"; fi
done
if [ -f "$man/man8/gyre.8" ]; then
	echo "$objects" | missing "gyre(8) names every object" "$man/man8/gyre.8"
else
	not_ok "gyre(8) names every object" "no such page"
fi

for page in "$man"/man*/*; do
	warnings=$(LC_ALL=C.UTF-8 MANWIDTH=100 man --warnings -E UTF-8 -l "$page" 2>&1 >/dev/null | head -n 3)
	if [ -z "$warnings" ]; then ok "$(basename "$page") formats without a warning"; else
		not_ok "$(basename "$page") formats without a warning" "$warnings"
	fi
	see=$(sed -n '/^\.SH SEE ALSO/,$s/^\.BR \(gyre[a-z_\\-]*\) (\([0-9]\)).*/\1.\2/p' "$page" | tr -d '\\' | while read -r other; do
		ls "$man"/man*/"$other" >/dev/null 2>&1 || echo "$other"
	done)
	[ -z "$see" ] || not_ok "$(basename "$page") refers to pages that exist" "$see"
done

# README: every make target and every gyre command in it
targets=$(grep -oE '(^|`)make [a-z-]+' README.md | sed 's/.*make //' | sort -u)
lost=$(for target in $targets; do grep -qE "^([a-z -]* )?$target( [a-z -]*)?:" Makefile || echo "$target"; done)
if [ -z "$lost" ]; then ok "README names only make targets that exist"; else not_ok "README names only make targets that exist" "$lost"; fi
lost=$(grep -ohE 'GYRE_OPTIONS="?[a-z_]+=' README.md lib/man/*.in tools/man/* 2>/dev/null | sed 's/.*[="]\([a-z_]*\)=$/\1/' | grep -vx name | sort -u | while read -r option; do
	grep -q "^OPTION($option," lib/base/options.def || echo "$option"
done)
if [ -z "$lost" ]; then ok "documents name only options that exist"; else not_ok "documents name only options that exist" "$lost"; fi

# kernel-notes: what the code refers to exists, what a note tells people to run exists, and all are listed
lost=$(grep -rohE 'kernel-notes/[a-z_]+(\.md)?' lib bpf tools README.md 2>/dev/null | sed 's/\.md$//' | sort -u | while read -r note; do
	[ -e "$note.md" ] || [ -d "$note" ] || echo "$note"
done)
if [ -z "$lost" ]; then ok "every kernel note that the code refers to exists"; else not_ok "every kernel note that the code refers to exists" "$lost"; fi
for note in kernel-notes/*.md; do
	name=$(basename "$note")
	[ "$name" = README.md ] && continue
	program=$(sed -n 's/.*build\/kernel-notes\/\(measure\/[a-z_]*\)`.*/\1/p' "$note" | head -n 1)
	if [ -z "$program" ] || [ ! -f "kernel-notes/$program.c" ]; then
		not_ok "kernel-notes/$name names the program that measures it" "'$program'"
	elif ! grep -qF "($name)" kernel-notes/README.md; then
		not_ok "kernel-notes/$name stands in the list" "not in kernel-notes/README.md"
	elif ! grep -q '^\*\*Fallback' "$note" || ! grep -q '^\*\*Since' "$note"; then
		not_ok "kernel-notes/$name says since when, and what the fallback is" "it lacks one"
	else
		ok "kernel-notes/$name: program, version, fallback"
	fi
done
