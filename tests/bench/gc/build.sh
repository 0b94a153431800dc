#!/bin/sh
# build.sh - builds the programs of this folder for some of the systems.
#
#	build.sh FOLDER SYSTEM...        SYSTEM: gyre, bdwgc, malloc, go
#
# FOLDER gets a folder of programs for each system. Gyre's are linked with libgyre.so of GYRE_BUILD (found
# by rpath), bdwgc's with libgc; those of malloc with nothing, so that an allocator can be preloaded. For
# Go the newest of GYRE_GO, `go` on PATH and the versions below /usr/lib is taken, and told in FOLDER/go/VERSION.
# What is newer than its sources is not built again.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
src=$(cd "$here/../../.." && pwd)
build=${GYRE_BUILD:-$src/build}
out=$1
shift

FLAGS="-std=gnu11 -D_GNU_SOURCE -O2 -g -fno-builtin -pthread -Wall -Wextra -Wshadow -Wconversion -Wsign-conversion"

# stale PROGRAM SOURCE...: the program is missing or older than one of its sources.
stale() {
	stale_program=$1
	shift
	for stale_source in "$@"; do
		[ "$stale_program" -nt "$stale_source" ] || return 0
	done
	return 1
}

# build_c SYSTEM MACRO FLAG...
build_c() {
	folder=$out/$1 macro=$2
	shift 2
	mkdir -p "$folder"
	for source in "$here"/*.c; do
		program=$folder/$(basename "$source" .c)
		stale "$program" "$source" "$here/collector.h" "$here/../bench.h" "$src/lib/include/gyre/gc.h" || continue
		${CC:-gcc} $FLAGS "-D$macro" -I"$src/lib/include" -o "$program" "$source" "$@" -lm
	done
}

# newest_go: the path of the newest compiler.
newest_go() {
	for go in ${GYRE_GO:-} "$(command -v go || :)" /usr/lib/go-*/bin/go /usr/local/go/bin/go; do
		[ -x "$go" ] && printf '%s %s\n' "$("$go" version | sed 's/^go version go\([^ ]*\).*/\1/')" "$go"
	done | sort -V | tail -n 1 | cut -d' ' -f2-
}

build_go() {
	folder=$out/go
	go=$(newest_go)
	[ -n "$go" ] || { echo "gyre: no Go compiler: package golang-go" >&2; exit 1; }
	mkdir -p "$folder"
	"$go" version >"$folder/VERSION.new"
	cmp -s "$folder/VERSION.new" "$folder/VERSION" || rm -f "$folder"/[a-z]*
	mv "$folder/VERSION.new" "$folder/VERSION"
	for source in "$here"/go/*.go; do
		[ "$(basename "$source")" != bench.go ] || continue
		program=$folder/$(basename "$source" .go)
		stale "$program" "$source" "$here/go/bench.go" || continue
		(cd "$here/go" && GOCACHE=$out/go-cache GO111MODULE=off GOTOOLCHAIN=local GOFLAGS= \
			"$go" build -o "$program" "$(basename "$source")" bench.go)
	done
}

case $out in /*) ;; *) out=$(pwd)/$out ;; esac
for system in "$@"; do
	case $system in
	gyre) build_c gyre GC_GYRE -L"$build" -lgyre -Wl,-rpath,"$build" ;;
	bdwgc) build_c bdwgc GC_BDW -lgc ;;
	malloc) build_c malloc GC_MALLOC ;;
	go) build_go ;;
	*) echo "build.sh: gyre, bdwgc, malloc, go; not $system" >&2; exit 2 ;;
	esac
done
