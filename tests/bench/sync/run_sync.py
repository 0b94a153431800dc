#!/usr/bin/env python3
"""run_sync.py - synchronisation against Go, pthread and malloc/free, in one interleaved run.

Each case is run by each system in turn, ROUNDS times; what is told is the least wall time of an operation
over the rounds, and the least CPU time: a busy machine adds to both, and takes nothing away. Go runs with
GOMAXPROCS=2, the C programs with as many threads as the case says. Writes its section of ../RESULTS.md,
unless QUICK=1. With GYRE_BENCH_SYNC=FOLDER the programs are built there, and kept; `--build` does no more.
"""
import glob
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SRC = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
sys.path.insert(0, os.path.dirname(HERE))
BUILD = os.environ.get("GYRE_BUILD") or os.path.join(SRC, "build")
QUICK = bool(os.environ.get("QUICK"))
ROUNDS = int(os.environ.get("ROUNDS") or (3 if QUICK else 7))

# name, what an operation is, operations, systems
CASES = [
    ("mutex-1", "lock and unlock, one thread", 1_000_000, "gyre pthread go"),
    ("mutex-2", "the same, two threads, one mutex", 250_000, "gyre pthread go"),
    ("mutex-4", "four threads", 250_000, "gyre pthread go"),
    ("chan-128-0-0", "send and receive, one thread, buffer of 128", 500_000, "gyre go"),
    ("chan-128-1-1", "an element, buffer of 128, 1 sender, 1 receiver", 250_000, "gyre go"),
    ("chan-128-1-4", "1 sender, 4 receivers", 125_000, "gyre go"),
    ("chan-128-4-1", "4 senders, 1 receiver", 125_000, "gyre go"),
    ("chan-0-1-1", "an element, no buffer, 1 sender, 1 receiver", 25_000, "gyre go"),
    ("chan-0-1-4", "1 sender, 4 receivers", 12_500, "gyre go"),
    ("chan-0-4-1", "4 senders, 1 receiver", 12_500, "gyre go"),
    ("select-alone", "select of 4 that are ready, and a send, one thread", 250_000, "gyre go"),
    ("select-16", "an element, select of 4, buffers of 16, 1 sender by turns", 50_000, "gyre go"),
    ("select-0", "the same without buffers", 12_500, "gyre go"),
    ("pool-1", "get and put, one thread", 1_000_000, "gyre go"),
    ("pool-2", "two threads", 1_000_000, "gyre go"),
    ("malloc-1", "malloc and free of 256 bytes, one thread", 1_000_000, "gyre pthread"),
]
NAMES = {"gyre": "Gyre", "pthread": "glibc", "go": "Go"}
TARGETS = [("mutex-1", "go", "an uncontended mutex at least as fast as Go's"),
           ("chan-128-1-1", "go", "a buffered channel at least as fast as Go's"),
           ("chan-128-0-0", "go", "the same on one thread"),
           ("pool-1", "go", "a pool's get and put faster than Go's")]


def newest_go():
    found = []
    for go in (os.environ.get("GYRE_GO"), "go", *sorted(glob.glob("/usr/lib/go-*/bin/go")),
               "/usr/local/go/bin/go"):
        try:
            words = subprocess.run([go, "version"], capture_output=True, text=True).stdout.split()
            found.append(([int(part) for part in words[2][2:].split(".")], go, words[2]))
        except (OSError, TypeError, IndexError, ValueError):
            continue
    return max(found) if found else None


def build(folder):
    go = newest_go()
    if not go:
        sys.exit("gyre: no Go compiler: package golang-go")
    if os.path.exists(folder + "/go") and "--build" not in sys.argv:
        return go[2]
    flags = "-std=gnu11 -D_GNU_SOURCE -O2 -fno-builtin -pthread -Wall -Wextra".split()
    source = os.path.join(HERE, "sync.c")
    subprocess.check_call([os.environ.get("CC", "gcc"), *flags, "-DGYRE", "-I" + SRC + "/lib/include", "-o",
                           folder + "/gyre", source, "-L" + BUILD, "-lgyre", "-Wl,-rpath," + BUILD])
    subprocess.check_call([os.environ.get("CC", "gcc"), *flags, "-o", folder + "/pthread", source])
    subprocess.check_call([go[1], "build", "-o", folder + "/go", os.path.join(HERE, "go/sync.go")],
                          env={**os.environ, "GO111MODULE": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "",
                               "GOCACHE": folder + "/cache"})
    return go[2]


def measure(folder):
    best = {}
    for number in range(ROUNDS):
        for name, _, ops, systems in CASES:
            for system in systems.split()[::-1 if number % 2 else 1]:
                said = subprocess.run([folder + "/" + system, name, str(ops)],
                                      env={**os.environ, "GOMAXPROCS": "2"}, capture_output=True, text=True,
                                      timeout=120)
                if said.returncode:
                    sys.exit("%s %s: %s" % (system, name, said.stderr))
                pair = [float(word) for word in said.stdout.split()]
                old = best.get((name, system), pair)
                best[name, system] = [min(a, b) for a, b in zip(pair, old)]
    return best


def table(best):
    rows = [["", "an operation", "Gyre, ns", "glibc", "Go", "Gyre / Go", "CPU: Gyre, ns", "glibc", "Go"]]
    for name, text, _, systems in CASES:
        def cell(system, which):
            pair = best.get((name, system))
            return "%.1f" % pair[which] if pair else "-"
        ratio = ("%.2f" % (best[name, "gyre"][0] / best[name, "go"][0])) if "go" in systems else "-"
        rows.append([name, text, cell("gyre", 0), cell("pthread", 0), cell("go", 0), ratio,
                     cell("gyre", 1), cell("pthread", 1), cell("go", 1)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) if i < 2 else cell.rjust(width)
                               for i, (cell, width) in enumerate(zip(row, widths))) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) if i < 2 else "-" * (width + 1) + ":"
                                   for i, width in enumerate(widths)) + "|")
    return "\n".join(lines)


def targets(best):
    lines = []
    for name, peer, text in TARGETS:
        ratio = best[name, "gyre"][0] / best[name, peer][0]
        lines.append("- %s: %.2f of its time: %s" % (text, ratio, "met" if ratio <= 1 else "**missed**"))
    ns = best["pool-1", "gyre"][0]
    lines.append("- a pool's get and put at most 10 ns on one thread: %.1f ns: %s" % (ns, "met" if ns <= 10 else "**missed**"))
    return "\n".join(lines)


def main():
    with tempfile.TemporaryDirectory() as temporary:
        folder = os.environ.get("GYRE_BENCH_SYNC") or temporary
        version = build(folder)
        if "--build" in sys.argv:
            return
        best = measure(folder)
    text = "%s\n\n%s\n\n%s, GOMAXPROCS=2; least of %d interleaved rounds. How: `tests/bench/sync/run_sync.py`." % (
        targets(best), table(best), version, ROUNDS)
    print(text)
    if not QUICK:
        import runner
        runner.report("sync", "Synchronisation against Go, pthread and malloc/free", "make bench-sync", text)


main()
