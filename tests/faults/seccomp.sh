#!/bin/sh
# Containers refuse system calls with EPERM or ENOSYS: the library does without them.
. "$GYRE_SRC/tests/lib.sh"

ulimit -c 0
filter=$GYRE_BUILD/tests/faults/seccomp
work=$GYRE_BUILD/tests/faults/work
often=background_start=64K,release_delay=0,cache_idle=10,sample=64K

if [ ! -x "$filter" ]; then
	not_ok 'system calls refused by seccomp' "no $filter"
	exit 1
fi
if ! "$filter" 1 io_uring_setup /bin/true 2>"$TMPDIR/err"; then
	skip 'system calls refused by seccomp' "$(head -n 1 "$TMPDIR/err")"
	exit 0
fi

# refused NAME ERRNO CALLS OPTIONS: the work must be done with nothing refused to the program.
refused() {
	"$filter" "$2" "$3" env GYRE_OPTIONS="$often$4" LD_PRELOAD="$GYRE_PRELOAD" "$work" recover >"$TMPDIR/out" 2>"$TMPDIR/err"
	status=$?
	if [ "$status" = 0 ] && [ "$(tail -n 1 "$TMPDIR/out")" = 'done refused=0' ]; then ok "$1"; else
		not_ok "$1" "exit status $status, $(tail -n 1 "$TMPDIR/out"), $(head -n 1 "$TMPDIR/err" | tr ':' ' ')"
	fi
}

for call in mremap madvise process_madvise membarrier memfd_create ftruncate pidfd_open io_uring_setup io_uring_enter prlimit64 rseq; do
	refused "$call refused with EPERM" 1 "$call" ''
	refused "$call refused with ENOSYS" 38 "$call" ''
done
for backend in process_madvise io_uring madvise; do
	refused "all the ways to release memory refused, release_backend=$backend" 1 \
		madvise,process_madvise,io_uring_setup,io_uring_enter ",release_backend=$backend"
done
refused 'everything that can be done without refused' 1 \
	mremap,madvise,process_madvise,membarrier,memfd_create,ftruncate,pidfd_open,io_uring_setup,io_uring_enter,rseq ''

# Without memory that may be written there is no heap: NULL and ENOMEM, and an end in good order.
"$filter" 12 mprotect_rw env GYRE_OPTIONS="$often" LD_PRELOAD="$GYRE_PRELOAD" "$work" >"$TMPDIR/out" 2>"$TMPDIR/err"
status=$?
if [ "$status" -lt 128 ]; then ok 'mprotect refused from the start, and no crash'; else
	not_ok 'mprotect refused from the start, and no crash' "exit status $status, $(head -n 1 "$TMPDIR/err" | tr ':' ' ')"
fi
