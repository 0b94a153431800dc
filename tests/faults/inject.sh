#!/bin/sh
# time-limit: 900
# Every system call of lib/os/sys_calls.def made to fail: once, at its first, second ... call; and from
# some call on for ever. The program must end well each time: refused requests are NULL and ENOMEM.
. "$GYRE_SRC/tests/lib.sh"

program=$GYRE_BUILD/tests/faults/work
ulimit -c 0
# What makes the library use all of its calls within a short run.
often=background_start=64K,release_delay=0,cache_idle=10,sample=64K

# attempt OPTIONS [recover]: the program's verdict; sets why.
attempt() {
	options=$1
	shift
	GYRE_OPTIONS=$options LD_PRELOAD=$GYRE_PRELOAD timeout 60 "$program" "$@" >"$TMPDIR/out" 2>"$TMPDIR/err"
	status=$?
	why=
	[ "$status" = 0 ] || why="exit status $status"
	grep -q '^done refused=' "$TMPDIR/out" || why="$why no last line"
	why="$why$(sed -n 's/^wrong / /p' "$TMPDIR/out" | tr '\n' ',')"
	if grep -q 'internal check\|panic\|free of\|realloc of' "$TMPDIR/err"; then
		why="$why $(grep 'internal check\|panic\|free of\|realloc of' "$TMPDIR/err" | head -n 1 | tr ':' ' ')"
	fi
	why=${why# }
	[ -z "$why" ] || why="$why, with GYRE_OPTIONS=$options"
}

# Which calls fail: the first ones in `make test`, many more in a soak.
once='0 1 2 3 4 5 7 10 16 30' row='0 3' ever='0 1 5 20'
if [ -n "${GYRE_SOAK_SECONDS:-}" ]; then
	once='0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 25 30 35 40 50 60 80 100' row='0 1 2 3 5 8 13 21' ever='0 1 2 3 4 5 6 9 14 20 40'
fi

attempt "$often"
if [ -z "$why" ]; then ok 'without faults nothing is refused'; else not_ok 'without faults nothing is refused' "$why"; fi
[ "$(sed -n 's/^done refused=//p' "$TMPDIR/out")" = 0 ] || not_ok 'without faults nothing is refused' "$(tail -n 1 "$TMPDIR/out")"

sed -n 's/^SYS_CALL(\([0-9]*\), \([a-z0-9_]*\),.*/\1 \2/p' "$GYRE_SRC/lib/os/sys_calls.def" >"$TMPDIR/calls"
[ -s "$TMPDIR/calls" ] || not_ok 'sys_calls.def lists calls' 'none found'
while read -r number name; do
	case $name in
	madvise) backend=,release_backend=madvise ;;
	io_uring*) backend=,release_backend=io_uring ;;
	*) backend=,release_backend=process_madvise ;;
	esac
	failed=
	for after in $once; do
		attempt "$often$backend,fault_call=$number,fault_after=$after,fault_count=1" recover
		[ -z "$why" ] || { failed=$why; break; }
	done
	if [ -z "$failed" ]; then ok "$name fails once, at each of its first calls"; else
		not_ok "$name fails once, at each of its first calls" "$failed"
	fi
	failed=
	for after in $row; do
		attempt "$often$backend,fault_call=$number,fault_after=$after,fault_count=7" recover
		[ -z "$why" ] || { failed=$why; break; }
	done
	if [ -z "$failed" ]; then ok "$name fails seven times in a row, then service resumes"; else
		not_ok "$name fails seven times in a row, then service resumes" "$failed"
	fi
	failed=
	for after in $ever; do
		attempt "$often$backend,fault_call=$number,fault_after=$after,fault_count=1000000000"
		[ -z "$why" ] || { failed=$why; break; }
		tail -n 1 "$TMPDIR/out" >"$TMPDIR/last_$after"
	done
	if [ -z "$failed" ]; then ok "$name fails for ever"; else not_ok "$name fails for ever" "$failed"; fi
	# That the injection reaches the library shows where a failure must refuse requests.
	case $name in
	mmap | mprotect)
		refused=$(sed -n 's/^done refused=//p' "$TMPDIR/last_0" 2>/dev/null)
		if [ "${refused:-0}" -gt 0 ]; then ok "$name failing for ever refuses requests"; else
			not_ok "$name failing for ever refuses requests" "none was"
		fi
		;;
	esac
done <"$TMPDIR/calls"
