#!/bin/sh
# time-limit: 100000
# Objects held from one place each (thread-local storage, a library opened later, late keys, ranges,
# coroutines), while cycles run and a library comes and goes.
. "$GYRE_SRC/tests/lib.sh"
. "$GYRE_SRC/tests/interpose/forms.inc"

ulimit -c 0
seconds=$((${GYRE_SOAK_SECONDS:-30} / 6))
cp "$programs/stress/roots_lib" "$TMPDIR/other.so"

# settings of GYRE_OPTIONS, and what to call them
cat >"$TMPDIR/settings" <<'LIST'
as it comes|
two helpers|gc_workers=3
verified|gc_verify=on
LIST
while IFS='|' read -r name options; do
	run_program "$name" env GYRE_OPTIONS="$options" "$programs/stress/roots_linked" "$programs/stress/roots_lib" \
		"$TMPDIR/other.so" "$seconds"
	sed -n 's/^# /# /p' "$TMPDIR/program.out"
done <"$TMPDIR/settings"
