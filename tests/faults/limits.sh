#!/bin/sh
# time-limit: 600
# Real limits: address space, data, a cgroup, the option memory_limit, requests beyond the machine. What
# cannot be had is refused with ENOMEM, nothing is damaged, and service resumes.
. "$GYRE_SRC/tests/lib.sh"
. "$GYRE_SRC/tests/interpose/forms.inc"

program=$programs/faults/limits
ulimit -c 0

run_program 'RLIMIT_AS' env LD_PRELOAD="$GYRE_PRELOAD" "$program" as 64
run_program 'RLIMIT_DATA' env LD_PRELOAD="$GYRE_PRELOAD" "$program" data 64
run_program 'absurd sizes' env LD_PRELOAD="$GYRE_PRELOAD" "$program" absurd

# Limits that are there before the first allocation. Of the address space the heap may reserve all
# but what threads and libraries need, so only a part can be asked for.
for mib in 160 400; do
	# shellcheck disable=SC3045
	run_program "ulimit -v" sh -c 'ulimit -v $(($2 * 1024)); LD_PRELOAD=$0 exec "$1" inherited "$2"' "$GYRE_PRELOAD" "$program" "$mib"
done
for mib in 100; do
	# shellcheck disable=SC3045
	run_program "ulimit -d" sh -c 'ulimit -d $(($2 * 1024)); LD_PRELOAD=$0 exec "$1" inherited "$2"' "$GYRE_PRELOAD" "$program" "$mib"
done
# So little that the heap may fail to start: programs that need nothing from it still run.
for mib in 5 12 30; do
	(ulimit -v $((mib * 1024)); LD_PRELOAD=$GYRE_PRELOAD exec /bin/true) >"$TMPDIR/out" 2>&1
	status=$?
	if [ "$status" = 0 ] || ! (ulimit -v $((mib * 1024)); exec /bin/true) >/dev/null 2>&1; then
		ok "ulimit -v of $mib MiB, and /bin/true runs as it does without"
	elif [ "$status" = 127 ] || [ "$status" = 1 ]; then
		ok "ulimit -v of $mib MiB, and the loader says that it cannot load the library"
	else
		not_ok "ulimit -v of $mib MiB, and /bin/true runs as it does without" "exit status $status, $(head -n 1 "$TMPDIR/out" | tr ':' ' ')"
	fi
done
run_program 'memory_limit=100M' env GYRE_OPTIONS=memory_limit=100M LD_PRELOAD="$GYRE_PRELOAD" "$program" inherited 100

# A cgroup of version 1. The process's own group is the parent.
own=$(sed -n 's/^[0-9]*:memory:\(.*\)$/\1/p' /proc/self/cgroup)
root=$(awk '$3 == "cgroup" && $4 ~ /memory/ { print $2; exit }' /proc/self/mounts)
group=$root$own/gyre-test-$$
[ -d "$root$own" ] || group=$root/gyre-test-$$
if [ -z "$root" ] || ! mkdir "$group" 2>/dev/null; then
	skip 'a memory cgroup' 'no memory controller of version 1, or no right to make a group'
else
	trap 'rmdir "$group" 2>/dev/null' EXIT
	echo $((128 << 20)) >"$group/memory.limit_in_bytes"
	[ ! -f "$group/memory.memsw.limit_in_bytes" ] || echo $((128 << 20)) >"$group/memory.memsw.limit_in_bytes"
	run_program 'a cgroup of 128 MiB' sh -c 'echo $$ >"$2/cgroup.procs"; LD_PRELOAD=$0 exec "$1" inherited 128' "$GYRE_PRELOAD" "$program" "$group"
	killed=$(sed -n 's/^oom_kill //p' "$group/memory.oom_control")
	if [ "${killed:-0}" = 0 ]; then ok 'nobody was killed by the cgroup'; else not_ok 'nobody was killed by the cgroup' "$killed killed"; fi
	wait_for 5 rmdir "$group" || not_ok 'the cgroup was removed' 'still busy'
	trap - EXIT
fi
