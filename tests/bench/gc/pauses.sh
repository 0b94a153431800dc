#!/bin/sh
# pauses.sh - the pauses of many cycles, added up over many short runs.
#
#	pauses.sh [FOLDER [MIB [SECONDS [RUNS]]]]
#
# Runs `pauses` (64 threads, 32 of them in epoll_wait or nanosleep) with a heap of MIB MiB, RUNS times
# (1) for SECONDS (20) of collections each; with no MIB, or 0, with 100, 500 and 2048 in turn. What each
# cycle's pause was is kept in FOLDER, so that a machine that is quiet only now and then can be measured
# piece by piece: the table is of all runs that FOLDER holds, those of earlier calls too. Without a
# FOLDER nothing is kept. RUNS 0: only the table.
# Programs: GYRE_BENCH_GC_PROGRAMS, or built with the library of GYRE_BUILD.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
src=$(cd "$here/../../.." && pwd)
GYRE_BUILD=${GYRE_BUILD:-$src/build}
export GYRE_BUILD
programs=${GYRE_BENCH_GC_PROGRAMS:-$GYRE_BUILD/tests/bench/gc}
folder=${1:-} sizes=${2:-0} seconds=${3:-20} runs=${4:-1}
[ "$sizes" != 0 ] || sizes='100 500 2048'

sh "$here/build.sh" "$programs" gyre
if [ -z "$folder" ]; then
	folder=$(mktemp -d)
	trap 'rm -rf "$folder"' EXIT
fi
mkdir -p "$folder"

run=0
while [ "$run" -lt "$runs" ]; do
	for mib in $sizes; do
		"$programs/gyre/pauses" "mib=$mib" "seconds=$seconds" collections=100000 list=1 >"$folder/run"
		grep -x '[0-9][0-9]*' "$folder/run" >>"$folder/$mib.ns" || :
		echo >>"$folder/$mib.runs"
	done
	run=$((run + 1))
done
rm -f "$folder/run"

echo '|   MiB | runs | cycles | p50, ms |  p90 |  p99 | longest | under 1 ms |'
echo '|------:|-----:|-------:|--------:|-----:|-----:|--------:|-----------:|'
for file in "$folder"/*.ns; do
	mib=$(basename "$file" .ns)
	sort -n "$file" | awk -v mib="$mib" -v runs="$(wc -l <"$folder/$mib.runs")" '
		{ ns[NR] = $1; under += $1 < 1000000 }
		function ms(share,  at) { at = int(share * NR) + 1; return ns[at > NR ? NR : at] / 1e6 }
		END {
			if (NR)
				printf "| %5d | %4d | %6d | %7.2f | %4.2f | %4.2f | %7.2f | %8.2f %% |\n",
					mib, runs, NR, ms(0.5), ms(0.9), ms(0.99), ms(1), 100 * under / NR
		}'
done | sort -n -k2
