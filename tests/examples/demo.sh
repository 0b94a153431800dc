#!/bin/sh
# demo.sh - what `make demo` runs: the bundled services, and gyre looking at them.
#
# For a newcomer: each step says what it is about to show, runs one command that can be typed by
# hand, and goes on. Everything that was started is stopped at the end, whatever happens.
# GYRE_DEMO_SECONDS sets how long the live stream is shown (default 4).
set -u
GYRE_SRC=${GYRE_SRC:-$(cd "$(dirname "$0")/../.." && pwd)}
GYRE_BUILD=${GYRE_BUILD:-$GYRE_SRC/build}
seconds=${GYRE_DEMO_SECONDS:-4}
gyre=$GYRE_BUILD/gyre
service=$GYRE_BUILD/tests/examples/demo_service
kv=$GYRE_BUILD/tests/examples/kv/kv

work=$(mktemp -d) || exit 1
pid= load=
finish() {
	[ -z "$load" ] || kill "$load" 2>/dev/null
	[ -z "$pid" ] || kill -TERM "$pid" 2>/dev/null
	[ -z "$pid" ] || wait "$pid" 2>/dev/null
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

if [ -t 1 ]; then bold=$(printf '\033[1m') dim=$(printf '\033[2m') plain=$(printf '\033[0m'); else bold='' dim='' plain=''; fi
say() { printf '%s\n' "$*"; }
step() { printf '\n%s── %s%s\n' "$bold" "$1" "$plain"; }
run() { printf '%s$ %s%s\n\n' "$dim" "$*" "$plain"; }

wait_ready() { # FILE
	for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		grep -q ready "$1" && return
		sleep 0.1
	done
	say "The service did not start:"
	cat "$1"
	exit 1
}

failed=0
step "A service on Gyre"
say "A small multi-threaded server starts: a request queue, a parser, a cache of documents. It calls malloc"
say "and free like any C program; it is linked with -lgyre (LD_PRELOAD=libgyre.so would do as well)."
"$service" 120 >"$work/out" 2>&1 &
pid=$!
wait_ready "$work/out"
say "It runs as process $pid."
sleep 2

step "Who runs on Gyre here?"
run "gyre process list"
"$gyre" process list || failed=1

step "What does its heap look like?"
say "Read from the process's control page: the service is not stopped, and does not notice."
run "gyre heap show pid $pid"
"$gyre" heap show pid "$pid" || failed=1

step "Who holds that memory, and who allocates most?"
say "Sampled since the start of the process, before anybody looked; '+-' is the standard error."
run "gyre heap profile pid $pid kind alloc top 8"
"$gyre" heap profile pid "$pid" kind alloc top 8 || failed=1
say ""
say "The same for go tool pprof, and as a picture that any browser opens (click, search):"
for words in "profile pid $pid kind alloc output $GYRE_BUILD/demo.pb.gz" "flame pid $pid kind alloc output $GYRE_BUILD/demo.svg"; do
	run "gyre heap $words"
	eval "\"\$gyre\" heap ${words% output *} output \"\${words##* output }\"" || failed=1
done

step "What is it allocating right now, and where?"
say "The sampler picks one allocation in each 512 KiB; eBPF takes those events from the USDT probes, with the"
say "stack of each. Live; without 'duration' it goes on until Ctrl-C."
run "gyre alloc trace pid $pid duration ${seconds}s"
privilege=
if [ "$(id -u)" != 0 ] && command -v sudo >/dev/null 2>&1; then
	say "(eBPF needs privilege: asking sudo)"
	privilege=sudo
	sudo -v || exit 1
fi
# the first lines as they come, all of them into a file
{
	timeout -s INT $((seconds + 20)) $privilege "$gyre" alloc trace pid "$pid" duration "${seconds}s" 2>"$work/trace.err"
	echo $? >"$work/status"
} | tee "$work/trace" | awk -v most=50 'NR <= most { print; fflush() } END { if (NR > most) print "... and " NR - most " more lines" }'
status=$(cat "$work/status")
grep -v '^Tracing' "$work/trace.err"
[ "$status" = 0 ] || failed=1
[ "$(wc -l <"$work/trace")" -gt 1 ] || { say "(nothing came)"; failed=1; }

step "And the service?"
kill -TERM "$pid"
wait "$pid"
[ $? = 0 ] || failed=1
pid=
grep served "$work/out" || { cat "$work/out"; failed=1; }

step "Objects that nobody frees"
say "Another service: a cache server with Redis's protocol (tests/examples/kv). Its table and values are objects"
say "that nobody frees; the collector finds what was replaced, beside the program. redis-benchmark loads it."
GYRE_OPTIONS=gc_minimum=4M "$kv" --port 0 --memory 16M --seconds 120 >"$work/kv" 2>&1 &
pid=$!
wait_ready "$work/kv"
port=$(sed -n 's/^ready: .* port //p' "$work/kv")
redis-benchmark -p "$port" -t set,get -n 100000000 -r 60000 -d 256 -c 20 -P 8 >/dev/null 2>&1 &
load=$!
sleep 1
say "A line for each cycle as it ends:"
run "gyre gc trace pid $pid duration ${seconds}s"
timeout -s INT $((seconds + 20)) $privilege "$gyre" gc trace pid "$pid" duration "${seconds}s" 2>"$work/trace.err" >"$work/cycles" || failed=1
awk 'NR <= 12 { print } { last = $0 } END { if (NR > 12) print last }' "$work/cycles"
grep -v '^Tracing' "$work/trace.err"
say ""
say "Where the time of a cycle goes:"
run "gyre gc phases pid $pid count 2"
timeout -s INT 40 $privilege "$gyre" gc phases pid "$pid" count 2 2>/dev/null || failed=1
say ""
say "Each store of a pointer while the collector marks: what was overwritten, and who did it. Every one of them,"
say "not a sample:"
run "gyre barrier top pid $pid duration 3s interval 1s rows 3"
timeout -s INT 24 $privilege "$gyre" barrier top pid "$pid" duration 3s interval 1s rows 3 2>/dev/null >"$work/barrier" || failed=1
# the last screen that shows hits, and the sum
awk '/^[0-9:]+ / { screen = ""; inside = 1 } inside { screen = screen $0 "\n" } /SLOT IN/ { good = 1 }
     inside && $0 == "" && good && ++blank % 2 == 0 { last = screen; inside = good = 0 } { sum = $0 }
     END { if (last == "") last = screen; printf "%s%s\n", last, sum }' "$work/barrier" | cut -c1-160
kill "$load" 2>/dev/null
wait "$load" 2>/dev/null
load=

step "A leak, in a process that runs"
say "The server is asked to forget 20,000 blocks. Which blocks can nothing reach? Nothing is stopped to find out,"
say "and what was lost before anybody looked is found too."
redis-cli -p "$port" debug leak 20000 >/dev/null || failed=1
run "gyre leak scan pid $pid"
$privilege "$gyre" leak scan pid "$pid" >"$work/leak" 2>&1
[ $? = 1 ] || failed=1 # 1: something is lost
grep -vE '^ +0x' "$work/leak" | sed '/^Lost blocks that held most/,$d'
kill -TERM "$pid"
wait "$pid" || failed=1
pid=
grep served "$work/kv" || { cat "$work/kv"; failed=1; }
say ""
say "On your own program:   LD_PRELOAD=$GYRE_BUILD/libgyre.so ./service"
say "                       $gyre alloc trace pid \$(pidof service)"
say "Next: README.md, 'gyre help', and 'bpftrace -l usdt:$GYRE_BUILD/libgyre.so:*'"
[ $failed = 0 ] || { say ""; say "Something above did not work: 'gyre feature probe' tells what this machine lacks."; }
exit $failed
