# lib.sh - what the test scripts share; sourced: . "$GYRE_SRC/tests/lib.sh"
#
# The result lines are the driver's contract (tests/run): ok, not_ok, skip print them. A script that
# is run by hand, without the driver, gets the same variables here.
GYRE_SRC=${GYRE_SRC:-$(cd "$(dirname "$0")/../.." && pwd)}
GYRE_BUILD=${GYRE_BUILD:-$GYRE_SRC/build}
GYRE=${GYRE:-$GYRE_BUILD/gyre}
GYRE_LIB=${GYRE_LIB:-$GYRE_BUILD/libgyre.so}
# What to preload; another allocator's library may be named, to try a test out without Gyre.
GYRE_PRELOAD=${GYRE_PRELOAD:-$GYRE_LIB}
if [ -z "${GYRE_TEST_RUN:-}" ]; then
	TMPDIR=$(mktemp -d)
	export TMPDIR
	trap 'rm -rf "$TMPDIR"' EXIT
fi

ok() { printf 'ok - %s\n' "$1"; }
not_ok() { printf 'not ok - %s: %s\n' "$1" "${2:-failed}"; failures=1; }
skip() { printf 'skip - %s: %s\n' "$1" "$2"; }

# check NAME COMMAND ...: ok if the command succeeds.
check() {
	check_name=$1
	shift
	if "$@" >"$TMPDIR/check.out" 2>&1; then
		ok "$check_name"
	else
		check_status=$?
		tail -n 20 "$TMPDIR/check.out"
		not_ok "$check_name" "exit status $check_status of $1"
	fi
}

# same NAME FILE FILE: ok if the two are equal.
same() {
	if cmp -s "$2" "$3"; then ok "$1"; else
		diff "$2" "$3" | head -n 10
		not_ok "$1" "output differs"
	fi
}

# preloaded PID: the library is mapped in that process.
preloaded() { grep -q "$(basename "$(readlink -f "$GYRE_PRELOAD")")" "/proc/$1/maps" 2>/dev/null; }

# wait_for SECONDS COMMAND ...: until the command succeeds; the seconds are a quiet machine's, which not every machine is.
wait_for() {
	wait_until=$(($(date +%s) + $1 * 6))
	shift
	while ! "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -lt "$wait_until" ] || return 1
		sleep 0.1
	done
}

# free_port: a TCP port of the loopback that nobody listens on.
free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# preload COMMAND ...: run it on the library.
preload() { env LD_PRELOAD="$GYRE_PRELOAD" "$@"; }

# bound NAME COMMAND ...: the dynamic linker itself says that some process of the command took its
# malloc from the library (LD_DEBUG writes one file for each process).
bound() {
	bound_name=$1
	shift
	rm -f "$TMPDIR"/bindings.*
	env LD_DEBUG=bindings LD_DEBUG_OUTPUT="$TMPDIR/bindings" LD_PRELOAD="$GYRE_PRELOAD" "$@" >/dev/null 2>&1
	if cat "$TMPDIR"/bindings.* 2>/dev/null | grep -q "to $GYRE_PRELOAD \[0\]: normal symbol .malloc'"; then
		ok "$bound_name takes malloc from $(basename "$GYRE_PRELOAD")"
	else
		not_ok "$bound_name takes malloc from $(basename "$GYRE_PRELOAD")" "no such binding in the dynamic linker's log"
	fi
	rm -f "$TMPDIR"/bindings.*
}

# both NAME COMMAND ...: the command prints the same with and without the library, and succeeds.
both() {
	both_name=$1
	shift
	if ! "$@" >"$TMPDIR/plain.out" 2>"$TMPDIR/plain.err"; then
		tail -n 5 "$TMPDIR/plain.err"
		not_ok "$both_name" "fails without the library too"
		return
	fi
	env LD_PRELOAD="$GYRE_PRELOAD" "$@" >"$TMPDIR/gyre.out" 2>"$TMPDIR/gyre.err"
	both_status=$?
	if [ $both_status != 0 ]; then
		tail -n 10 "$TMPDIR/gyre.err"
		not_ok "$both_name" "exit status $both_status with the library"
	elif ! cmp -s "$TMPDIR/plain.out" "$TMPDIR/gyre.out"; then
		diff "$TMPDIR/plain.out" "$TMPDIR/gyre.out" | head -n 10
		not_ok "$both_name" "prints something else with the library"
	else
		ok "$both_name"
	fi
}
