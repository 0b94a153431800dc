#!/bin/sh
# deps.sh - see that the Debian packages of a target are there, and install what lacks.
#
#   sh tools/dev/deps.sh build|test|bench|demo|list
#
# The tables below are the whole list of what Gyre needs outside libc (Debian 12 names; nothing is
# taken from elsewhere). When all is there, this is one dpkg-query and no network. When something
# lacks, it is named, then installed by apt-get (sudo where we are not root; apt-get update once).
# GYRE_NO_INSTALL=1 only names it. Without dpkg this cannot know: it says so once and lets the
# compiler find out.
set -u

build='gcc libc6-dev make binutils pkg-config clang llvm bpftool libbpf-dev libelf-dev libdw-dev libiberty-dev
libjansson-dev libncurses-dev libsmartcols-dev liburing-dev systemtap-sdt-dev zlib1g-dev protobuf-c-compiler libprotobuf-c-dev'
demo="$build procps redis-tools"
test="$build g++ libcriterion-dev clang-tidy bpftrace gdb spin valgrind procps util-linux man-db groff-base python3
libpython3.11-testsuite redis-server redis-tools git sqlite3 perl libjemalloc2 golang-go chromium wrk"
bench="$build g++ valgrind libjemalloc2 libtcmalloc-minimal4 libmimalloc2.0 redis-server redis-tools python3 procps libgc-dev
golang-go bpftrace heaptrack"

case "${1:-}" in
build) want=$build ;;
test) want=$test ;;
bench) want=$bench ;;
demo) want=$demo ;;
list) printf '%s\n' $build $test $bench $demo | sort -u; exit 0 ;;
*) echo "usage: deps.sh build|test|bench|demo|list" >&2; exit 2 ;;
esac

if ! command -v dpkg-query >/dev/null 2>&1; then
	echo "gyre: no dpkg here, so the packages for '$1' are not checked; it needs what Debian 12 calls:" $want >&2
	exit 0
fi

lacking() {
	have=" $(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $want 2>/dev/null | sed -n 's/^installed //p' | tr '\n' ' ')"
	for package in $want; do
		case "$have" in *" $package "*) ;; *) printf '%s ' "$package" ;; esac
	done
}

lack=$(lacking)
[ -z "$lack" ] && exit 0

echo "gyre: '$1' needs packages that are not installed: $lack" >&2
if [ -n "${GYRE_NO_INSTALL:-}" ]; then
	echo "gyre: GYRE_NO_INSTALL is set; install them with: apt-get install $lack" >&2
	exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
	if command -v sudo >/dev/null 2>&1; then as_root='sudo'; else
		echo "gyre: not root and no sudo; as root, run: apt-get install $lack" >&2
		exit 1
	fi
fi
echo "gyre: installing them" >&2
install() {
	$as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends $lack >"$log" 2>&1
}
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
install || { $as_root apt-get update -q >"$log" 2>&1; install; } || {
	tail -5 "$log" >&2
	echo "gyre: could not install them; by hand: apt-get update && apt-get install $lack" >&2
	exit 1
}
lack=$(lacking)
[ -z "$lack" ] || { echo "gyre: still lacking after apt-get: $lack" >&2; exit 1; }
