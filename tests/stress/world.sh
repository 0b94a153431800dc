#!/bin/sh
# time-limit: 100000
# The world stopped hundreds of times (make soak: thousands) under 64 threads of every kind: nobody moves meanwhile, locks are
# free, no wait in a blocking region ends with EINTR, no stop fails.
. "$GYRE_SRC/tests/lib.sh"

program=$GYRE_BUILD/tests/stress/world_internal
ulimit -c 0

stops=300
[ -z "${GYRE_SOAK_SECONDS:-}" ] || stops=$((300 + GYRE_SOAK_SECONDS * 20))

# run NAME ARGUMENT ...
run() {
	name=$1
	shift
	if "$program" "$@" >"$TMPDIR/out" 2>"$TMPDIR/err" && grep -q '^done' "$TMPDIR/out" && [ ! -s "$TMPDIR/err" ]; then
		ok "$name"
	else
		not_ok "$name" "$(grep -h '^wrong' "$TMPDIR/out" | head -n 3 | tr '\n:' ', ') $(head -n 1 "$TMPDIR/err" | tr ':' ' ')"
	fi
	sed -n 's/^# /# /p' "$TMPDIR/out"
}

run '64 threads of every kind' -n "$stops"
run '64 threads that sleep and wait' -q -n "$stops"
run '7 threads' -t 7 -n "$stops"
GYRE_OPTIONS=gc_stop_timeout=30000 run '300 threads' -t 300 -n $((stops / 12))
GYRE_OPTIONS=membarrier=off run 'full fences in place of membarrier' -n $((stops / 4))
GYRE_OPTIONS=gc_priority=off run 'everybody at his own priority' -n $((stops / 4))
GYRE_OPTIONS=gc_signal=40 run 'a real-time signal' -n $((stops / 4))

if command -v taskset >/dev/null; then
	real=$program
	printf '#!/bin/sh\nexec taskset -c 0 "%s" "$@"\n' "$real" >"$TMPDIR/on_one"
	chmod +x "$TMPDIR/on_one"
	program=$TMPDIR/on_one
	run 'one processor' -n $((stops / 4))
else
	skip 'one processor' 'no taskset here'
fi
