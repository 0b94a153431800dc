#!/bin/sh
# time-limit: 100000
# Threads, sizes, frees from other threads, against a shadow of memory; under the settings that change
# the schedule most. GYRE_SOAK_SECONDS makes it long (make soak); GYRE_STRESS_SEED repeats a run.
. "$GYRE_SRC/tests/lib.sh"
. "$GYRE_SRC/tests/interpose/forms.inc"

ulimit -c 0
program=$programs/stress/stress

# settings of GYRE_OPTIONS, and what to call them
cat >"$TMPDIR/settings" <<'LIST'
as it comes|
releases at once|release_delay=0,background_start=64K,cache_idle=10
small caches|thread_cache=64K,thread_caches=1M
sampled often|sample=8K
no background thread|background=off
release by madvise|release_backend=madvise,release_delay=0
release by io_uring|release_backend=io_uring,release_delay=0
copies in place of mremap|mremap=off
small pages|hugepage=off
near a memory limit|memory_limit=96M
LIST
count=$(wc -l <"$TMPDIR/settings")
seconds=$((${GYRE_SOAK_SECONDS:-30} / (count + 1)))
[ "$seconds" -gt 2 ] || seconds=3

while IFS='|' read -r name options; do
	run_program "$name" env GYRE_OPTIONS="$options" LD_PRELOAD="$GYRE_PRELOAD" "$program" -s "$seconds" -t 8 \
		${GYRE_STRESS_SEED:+-r "$GYRE_STRESS_SEED"}
	sed -n 's/^# /# /p' "$TMPDIR/program.out"
done <"$TMPDIR/settings"
run_program 'many threads' env LD_PRELOAD="$GYRE_PRELOAD" "$program" -s "$seconds" -t 120 ${GYRE_STRESS_SEED:+-r "$GYRE_STRESS_SEED"}
run_program 'long tails' env LD_PRELOAD="$GYRE_PRELOAD" "$programs/stress/tail" "$seconds"
