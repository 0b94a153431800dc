#!/bin/sh
# time-limit: 600
# Graphs of collected objects changed by 1, 2 and 64 threads, a verification after every cycle, under the
# settings that change the protocol's schedule most; at the end 99.9 % of the bytes must come back.
# Then the mutations, where gyre_gc_verify must find that objects are lost: the same program with plain
# stores; and stores that are not one step against the pause (gc_window_linked.c).
# GYRE_SOAK_SECONDS makes it long (make soak); GYRE_STRESS_SEED repeats a run's random numbers.
. "$GYRE_SRC/tests/lib.sh"
ulimit -c 0
program=$GYRE_BUILD/tests/stress/gc_stress_linked
plain=$GYRE_BUILD/tests/stress/gc_nobarrier_linked

cat >"$TMPDIR/settings" <<'LIST'
one thread|gc_verify=on|-t 1
two threads|gc_verify=on|-t 2
two threads, many cycles|gc_verify=on,gc_minimum=64K,gc_percent=10|-t 2
64 threads|gc_verify=on|-t 64
64 threads, cycles as they come|gc_minimum=1M|-t 64
a cycle at every slow allocation|gc_stress=1|-t 4
what is freed is poisoned|gc_poison=on,gc_minimum=256K|-t 4
delays at each step of the protocol|gc_delay=500,gc_verify=on|-t 4
without membarrier|membarrier=off,gc_verify=on|-t 4
one marker|gc_workers=1,gc_verify=on|-t 4
eight markers|gc_workers=8,gc_verify=on|-t 4
without assists|gc_assist=off,gc_verify=on|-t 4
near a memory limit|gc_memory_limit=16M,gc_poison=on|-t 8
with forks|gc_verify=on|-t 4 -f
LIST
count=$(wc -l <"$TMPDIR/settings")
seconds=$(((${GYRE_SOAK_SECONDS:-0} + 60) / (count + 3)))

while IFS='|' read -r name options arguments; do
	GYRE_OPTIONS=$options timeout $((seconds + 100)) "$program" -s "$seconds" $arguments ${GYRE_STRESS_SEED:+-r "$GYRE_STRESS_SEED"} \
		>"$TMPDIR/out" 2>"$TMPDIR/err"
	status=$?
	sed -n "s/^# /# $name: /p" "$TMPDIR/out"
	if [ $status = 0 ] && [ ! -s "$TMPDIR/err" ]; then ok "$name"; else
		head -n 5 "$TMPDIR/err"
		not_ok "$name" "exit status $status; $(grep -v '^#' "$TMPDIR/out" "$TMPDIR/err" -h | head -n 1 | tr ':' ' ')"
	fi
done <"$TMPDIR/settings"

# A holder is of a type, or (conservative): that one has no name but its field's offset.
# The mutation: no barrier. Cycles only as they are asked for, so that each is verified before a loss can do harm.
for threads in 1 2 16; do
	GYRE_OPTIONS=gc_percent=0 timeout 100 "$plain" -s 30 -t $threads >"$TMPDIR/out" 2>"$TMPDIR/err"
	status=$?
	if [ $status = 1 ] && grep -q '^[1-9][0-9]* objects lost' "$TMPDIR/out" &&
		grep -qE 'lost object: .* at 0x[0-9a-f]+ \([0-9]+ bytes\), reached through field .* of (struct .*|\(conservative\)) at 0x[0-9a-f]+, slot 0x' "$TMPDIR/err"; then
		ok "stores without the barrier are found out, $threads threads"
	else
		not_ok "stores without the barrier are found out, $threads threads" "exit status $status; $(tail -n 1 "$TMPDIR/out")"
	fi
done

# The mutation: no fix-up. The same threads with gyre_set lose nothing.
window=$GYRE_BUILD/tests/stress/gc_window_linked
for delay in 0 500; do
	if GYRE_OPTIONS=gc_percent=0,gc_delay=$delay timeout 100 "$window" "$seconds" >"$TMPDIR/out" 2>&1; then ok "a pause between look and store, delays of $delay us"; else
		not_ok "a pause between look and store, delays of $delay us" "$(tail -n 1 "$TMPDIR/out")"
	fi
done
GYRE_OPTIONS=gc_percent=0 timeout 200 "$GYRE_BUILD/tests/stress/gc_nowindow_linked" 100 >"$TMPDIR/out" 2>&1
status=$?
if [ $status = 1 ] && grep -q '^[1-9][0-9]* objects lost' "$TMPDIR/out"; then ok 'look and store in two steps are found out'; else
	not_ok 'look and store in two steps are found out' "exit status $status; $(tail -n 1 "$TMPDIR/out")"
fi
