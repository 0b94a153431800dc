#!/bin/sh
# Each kind of misuse: exactly one line on stderr that names what and where, then SIGABRT; and with
# on_misuse=continue the line alone, and a heap that is whole afterwards.
. "$GYRE_SRC/tests/lib.sh"

program=$GYRE_BUILD/tests/misuse/misuse
ulimit -c 0

# texts FILE: the reports, each without "gyre: PID COMM: " and what stands in [].
texts() { sed -n 's/^gyre: [0-9][0-9]* [a-z_]*: \(.*\) \[.*\]$/\1/p' "$1"; }

# cases PROGRAM PRELOAD LABEL: each of its cases in a process of its own.
cases() {
	"$1" list >"$TMPDIR/cases"
	[ -s "$TMPDIR/cases" ] || not_ok "$3 list" 'no cases'
	while read -r name; do
		# Without samples: a sampled block may have a span of its own, which is gone with its block.
		(GYRE_OPTIONS=sample=0 LD_PRELOAD=$2 exec "$1" "$name") >"$TMPDIR/out" 2>"$TMPDIR/err"
		status=$?
		sed -n 's/^expect //p' "$TMPDIR/out" >"$TMPDIR/wanted"
		texts "$TMPDIR/err" >"$TMPDIR/got"
		said=$(tr ':' ' ' <"$TMPDIR/err" | head -n 1)
		if [ "$status" != 134 ]; then
			not_ok "$3$name" "exit status $status, not SIGABRT; $said"
		elif [ "$(wc -l <"$TMPDIR/err")" != 1 ]; then
			not_ok "$3$name" "$(wc -l <"$TMPDIR/err") lines on stderr, not 1"
		elif ! cmp -s "$TMPDIR/wanted" "$TMPDIR/got"; then
			not_ok "$3$name" "said '$said', wanted '$(cat "$TMPDIR/wanted")'"
		elif ! grep -q '\[called from 0x[0-9a-f]*\]$' "$TMPDIR/err"; then
			not_ok "$3$name" "no caller named, '$said'"
		else
			ok "$3$name"
		fi
	done <"$TMPDIR/cases"
}
cases "$GYRE_BUILD/tests/misuse/wrong_delete" "$GYRE_PRELOAD" ''
cases "$GYRE_BUILD/tests/misuse/wrong_delete_static" '' 'with the archive, '
cases "$program" "$GYRE_PRELOAD" ''

# The caller that is named is in the program itself. setarch makes its place known.
where=$(LD_PRELOAD=$GYRE_PRELOAD setarch -R "$program" free_global 2>&1 >/dev/null | sed -n 's/.*called from \(0x[0-9a-f]*\)\].*/\1/p')
base=$((0x555555554000))
if [ -n "$where" ] && [ $((where)) -gt "$base" ] && [ $((where)) -lt $((base + 0x100000)) ]; then
	name=$(addr2line -f -e "$program" "$(printf '0x%x' $((where - base - 1)))" | head -n 1)
	if [ "$name" = foreign ]; then ok 'the caller named is the function that called free'; else
		not_ok 'the caller named is the function that called free' "it is '$name'"
	fi
else
	not_ok 'the caller named is the function that called free' "address '$where'"
fi

# The same where every block is a sample: what is said of the block may be less, its address and the verdict are not.
failed=
while read -r name; do
	(GYRE_OPTIONS=sample=1 LD_PRELOAD=$GYRE_PRELOAD exec "$program" "$name") >"$TMPDIR/out" 2>"$TMPDIR/err"
	status=$?
	wanted=$(sed -n 's/^expect //p' "$TMPDIR/out" | sed 's/ (a block of.*//; s/, but the block.*//')
	case $status:$(texts "$TMPDIR/err") in
	134:"$wanted"*) ;;
	*) failed="$failed $name ($status, $(head -n 1 "$TMPDIR/err" | tr ':' ' '), wanted '$wanted')" ;;
	esac
done <"$TMPDIR/cases"
if [ -z "$failed" ] && [ -s "$TMPDIR/cases" ]; then ok 'all cases with every block sampled'; else not_ok 'all cases with every block sampled' "$failed"; fi

(GYRE_OPTIONS=on_misuse=continue,sample=0 LD_PRELOAD=$GYRE_PRELOAD exec "$program" all) >"$TMPDIR/out" 2>"$TMPDIR/err"
status=$?
sed -n 's/^expect //p' "$TMPDIR/out" >"$TMPDIR/wanted"
texts "$TMPDIR/err" >"$TMPDIR/got"
count=$(wc -l <"$TMPDIR/wanted")
if [ "$count" -gt 1000 ] && cmp -s "$TMPDIR/wanted" "$TMPDIR/got"; then ok 'on_misuse=continue reports every case and every offset, in order'; else
	diff "$TMPDIR/wanted" "$TMPDIR/got" | head -n 10
	not_ok 'on_misuse=continue reports every case and every offset, in order' "$count wanted, $(wc -l <"$TMPDIR/got") said"
fi
if [ "$status" = 0 ] && grep -q '^heap whole' "$TMPDIR/out"; then ok 'on_misuse=continue leaves the heap whole'; else
	not_ok 'on_misuse=continue leaves the heap whole' "exit status $status, $(grep '^heap' "$TMPDIR/out")"
fi
if [ "$(wc -l <"$TMPDIR/err")" = "$count" ]; then ok 'nothing else is said'; else
	not_ok 'nothing else is said' "$(wc -l <"$TMPDIR/err") lines for $count reports"
fi
