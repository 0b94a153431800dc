#!/usr/bin/env python3
"""compare - runs the collector's workloads on Gyre, bdwgc, Go and malloc/free, and compares them.

    compare.py [--rounds N] [--quick] [--only WORD,...] [--systems A,B,...] [--json FILE] [--no-report]
               [--patience N] [--keep FOLDER]
    compare.py --list

How a comparison is made (the rules of ../runner.py, whose tools this uses):
  - The C systems share one source for each workload (collector.h); Go has its own, drawing the same random
    numbers. Every run ends in a checksum, and runs that differ end the comparison.
  - Each collector as it comes: no tuning of percentages, heap sizes or marker counts. malloc-gyre is the
    program of the column malloc with libgyre.so preloaded: what Gyre's malloc and free cost, without a
    collector.
  - Interleaved: a round runs every system once, and the next begins with another one. The figure is the median
    over the rounds of the child's own clock, from the start of the work (not of the process). CPU is
    user + system time of all the child's threads, the collector's included.
  - What other processes took of the CPUs during a run is measured. A run during which that was more than a
    twentieth is made again, up to --patience times, and the least disturbed one counts. The report says how
    much was left; where it is much, look at the CPU column and the spread.
  - `asked` is what the project wants of Gyre; a line that is not reached says MISSED.
  - --keep FOLDER: finished parts are kept there, and not run again: a long comparison in short pieces
    (--only), on the same build; the report is written with the run that finds or makes all of them.

A full run takes about twenty minutes on an idle machine and writes its section of ../RESULTS.md; --quick
takes two at reduced sizes and writes nothing: its verdicts are hints.
"""
import argparse
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import runner as bench  # noqa: E402: the tools of the folder above

OUT = os.environ.get("GYRE_BENCH_GC_PROGRAMS") or os.path.join(bench.BUILD, "tests", "bench", "gc")
LIBRARY = os.environ.get("GYRE_LIB") or os.path.join(bench.BUILD, "libgyre.so")
COLLECTORS = ["gyre", "bdwgc", "go"]
ALL = COLLECTORS + ["malloc", "malloc-gyre"]


class System:
    def __init__(self, name):
        self.name = name
        self.folder = os.path.join(OUT, "malloc" if name == "malloc-gyre" else name)

    def environment(self):
        env = dict(os.environ)
        for name in ("LD_PRELOAD", "GYRE_OPTIONS", "GOGC", "GOMEMLIMIT", "GODEBUG", "GOMAXPROCS", "GC_MARKERS"):
            env.pop(name, None)
        if self.name == "malloc-gyre":
            env["LD_PRELOAD"] = LIBRARY
        return env


def parse(line):
    return {name: float(value) for name, _, value in (word.partition("=") for word in line.split())}


DISTURBED = 0.05
patience = 0


def busy_s():
    """CPU seconds of all processes, and of the host's other machines, since boot."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq, steal = [int(word) for word in file.readline().split()[1:9]]
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def run_once(system, words, one_cpu, limit_s):
    """The child's figures, and `others`: the share of the CPUs that went elsewhere meanwhile."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin_s, busy = time.monotonic(), busy_s()
    done = subprocess.run([os.path.join(system.folder, words[0])] + words[1:], env=system.environment(),
                          timeout=limit_s, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          preexec_fn=(lambda: os.sched_setaffinity(0, {0})) if one_cpu else None)
    if done.returncode != 0:
        raise SystemExit("%s: %s failed with status %d\n%s" %
                         (system.name, " ".join(words), done.returncode, done.stderr[-2000:]))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = after.ru_utime + after.ru_stime - children.ru_utime - children.ru_stime
    took = (time.monotonic() - begin_s) * os.cpu_count()
    result = parse(done.stdout)
    result["others"] = max(0.0, busy_s() - busy - own) / took
    return result


def run(system, words, one_cpu=False, limit_s=900):
    best = None
    for _ in range(1 + patience):
        result = run_once(system, words, one_cpu, limit_s)
        if best is None or result["others"] < best["others"]:
            best = result
        if best["others"] <= DISTURBED:
            break
    return best


# ---------------------------------------------------------------- workloads

class Workload:
    """`full` and `quick` are the words of the command line; `unit` tells how wall time becomes the figure."""

    def __init__(self, name, title, full, quick, systems=ALL, per="run", rounds=5, one_cpu=False):
        self.name, self.title, self.systems, self.per, self.rounds = name, title, systems, per, rounds
        self.one_cpu = one_cpu
        self.full, self.quick = full.split(), quick.split()

    def figure(self, run_):
        """Seconds a run; seconds an operation; or ns that one thread takes for an operation."""
        if self.per == "run":
            return run_["wall_s"]
        if self.per == "operation":
            return run_["wall_s"] / run_["operations"]
        return run_["wall_s"] / run_["operations"] * 2e9

    def cpu(self, run_):
        return run_["cpu_s"] / run_["wall_s"] * self.figure(run_)


WORKLOADS = [
    Workload("trees", "binary trees, depth 18, 2 threads; s", "trees", "trees depth=15"),
    Workload("gcbench", "GCBench, 2 threads; s", "gcbench", "gcbench times=1 depth=14"),
    Workload("parser", "parser of trees and strings, 2 threads; s", "parser", "parser times=8"),
    Workload("short", "short-lived objects of 32 bytes, 2 threads; ns each", "short objects=100000000",
             "short objects=20000000",
             per="thread"),
    Workload("short-live", "the same beside 64 MiB that live; ns each", "short objects=50000000 live_mib=64",
             "short objects=20000000 live_mib=16", per="thread", rounds=3),
    Workload("cache", "cache service, 350 MiB live, 2 threads", "cache operations=6000000",
             "cache operations=1000000 entries=262144"),
    Workload("graph-random", "forced collection: graph of 10 M nodes, random; s each", "graph order=random runs=2",
             "graph order=random nodes=1000000", COLLECTORS, "operation", 3),
    Workload("graph-walk", "the same graph, laid out as a walk meets it; s each", "graph order=walk runs=2",
             "graph order=walk nodes=1000000", COLLECTORS, "operation", 3),
    Workload("graph-near", "as many nodes and pointers, in order; s each", "graph order=near",
             "graph order=near nodes=1000000", COLLECTORS, "operation", 3),
    Workload("one-cpu", "cache service of 1 thread, on one CPU (taskset -c 0)", "cache operations=3000000 threads=1",
             "cache operations=500000 threads=1 entries=262144", COLLECTORS, "operation", 3, one_cpu=True),
] + [Workload("pauses-%d" % mib, "pauses, 64 threads, %d MiB" % mib, "pauses mib=%d seconds=15" % mib,
              "pauses mib=%d seconds=2" % (mib // 4), COLLECTORS, rounds=1) for mib in (100, 500, 2048)]
TIMED = ["trees", "gcbench", "parser", "short", "short-live", "graph-random", "graph-walk", "graph-near"]


def metric(runs, name):
    return bench.median([run_[name] for run_ in runs])


def measure(workload, systems, options):
    """name of the system -> its runs."""
    chosen = [system for system in systems if system.name in workload.systems]
    words = workload.quick if options.quick else workload.full
    rounds = options.rounds or (2 if options.quick else workload.rounds)
    if workload.name.startswith("pauses"):
        rounds = 1 if options.quick else options.rounds or workload.rounds
    measured = bench.interleave(chosen, rounds, lambda system: run(system, words, workload.one_cpu))
    sums = {run_["checksum"] for runs in measured.values() for run_ in runs}
    if len(sums) > 1:
        raise SystemExit("%s: the systems disagree: %s" % (workload.name, {
            name: sorted({"%.0f" % run_["checksum"] for run_ in runs}) for name, runs in measured.items()}))
    return measured


# ---------------------------------------------------------------- tables

def time_table(results, names):
    header = ["median of the rounds (CPU)"] + names + ["spread"]
    body = []
    for workload in WORKLOADS:
        if workload.name not in TIMED or workload.name not in results:
            continue
        cells = [workload.title]
        for name in names:
            runs = results[workload.name].get(name)
            if not runs:
                cells.append("-")
                continue
            wall = bench.median([workload.figure(run_) for run_ in runs])
            cpu = bench.median([workload.cpu(run_) for run_ in runs])
            cells.append("%s (%s)" % (brief(wall), brief(cpu)))
        cells.append("%.0f %%" % (100 * max(bench.spread([run_["wall_s"] for run_ in runs])
                                            for runs in results[workload.name].values())))
        body.append(cells)
    return bench.table(header, body)


def brief(value):
    return "%.1f" % value if value >= 10 else "%.2f" % value if value >= 0.1 else "%.3f" % value


def other_table(results, names, title, field, scale, form):
    body = []
    for workload in WORKLOADS:
        if workload.name not in TIMED or workload.name not in results:
            continue
        body.append([workload.title.partition(";")[0]] + [
            form % (metric(results[workload.name][name], field) / scale)
            if name in results[workload.name] else "-" for name in names])
    return bench.table([title] + names, body)


def cache_table(results, names, workload="cache", title="cache service"):
    body = []
    for name in names:
        runs = results[workload].get(name)
        if runs:
            body.append([name, "%.2f" % mops(runs)] +
                        [brief(metric(runs, field)) for field in ("p50_us", "p99_us", "p999_us", "p9999_us")] +
                        ["%.0f" % metric(runs, "longest_us"),
                         "%.2f" % (metric(runs, "pause_max_us") / 1e3) if name in COLLECTORS else "-",
                         "%.0f" % metric(runs, "cycles"),
                         "%.2f" % (metric(runs, "cpu_s") / metric(runs, "operations") * 1e6),
                         "%.0f" % (metric(runs, "peak_kib") / 1024)])
    live_mib = metric(next(iter(results[workload].values())), "live_kib") / 1024
    return bench.table(["%s, %.0f MiB live" % (title, live_mib), "M ops/s", "p50, us", "p99", "p99.9", "p99.99",
                        "longest stall", "longest pause, ms", "cycles", "CPU us/op", "peak RSS, MiB"], body)


def mops(runs):
    return bench.median([run_["operations"] / run_["wall_s"] for run_ in runs]) / 1e6


def pauses_table(results, names):
    body = []
    for workload in WORKLOADS:
        for name in names:
            runs = results.get(workload.name, {}).get(name) if workload.name.startswith("pauses") else None
            if runs:
                body.append([workload.title, name, "%.0f" % metric(runs, "operations")] +
                            ["%.2f" % (metric(runs, "stop_%s_us" % field) / 1e3)
                             for field in ("p50", "p90", "p99", "longest")] +
                            ["%.1f %%" % (100 * metric(runs, "under_1ms"))])
    return bench.table(["ms", "", "cycles", "p50", "p90", "p99", "longest", "under 1 ms"], body)


# ---------------------------------------------------------------- the barrier

FEW, MANY = 81920, 819200


def instructions(system, mode, folder):
    """A store's, the loop included."""
    counts = []
    out = os.path.join(folder, "callgrind.out")
    for stores in (FEW, MANY):
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out, "--quiet",
             "--soname-synonyms=somalloc=nouserintercepts", os.path.join(system.folder, "barrier"),
             "mode=" + mode, "stores=%d" % stores],
            env=system.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise SystemExit("%s: barrier under callgrind failed (%d)\n%s" %
                             (system.name, done.returncode, done.stderr[-2000:]))
        with open(out) as file:
            counts.append(int(re.search(r"^(?:summary|totals): (\d+)", file.read(), re.M).group(1)))
    return (counts[1] - counts[0]) / (MANY - FEW)


def barrier(systems, options):
    """[(what, system, ns, instructions or None)]."""
    rows = []
    by_name = {system.name: system for system in systems}
    plan = [("plain store", "malloc", "plain"), ("plain store", "gyre", "plain"), ("gyre_set, idle", "gyre", "set"),
            ("gyre_set, marking", "gyre", "marking"), ("store in Go, idle", "go", "set")]
    plan = [one for one in plan if one[1] in by_name]
    scale = "stores=40000000" if options.quick else "stores=400000000"
    times = {one: [] for one in plan}
    for _ in range(options.rounds or (2 if options.quick else 5)):
        for one in plan:
            times[one].append(run(by_name[one[1]], ["barrier", "mode=" + one[2], scale])["store_ns"])
    with tempfile.TemporaryDirectory() as folder:
        for one in plan:
            counted = one[1] == "gyre" and one[2] != "marking" and shutil.which("valgrind")
            rows.append(one[:2] + (bench.median(times[one]),
                                   instructions(by_name[one[1]], one[2], folder) if counted else None))
    return rows


def barrier_table(rows):
    return bench.table(["a store of a pointer", "", "ns", "instructions, loop included"],
                       [[what, name, "%.2f" % ns, "%.2f" % count if count else "-"] for what, name, ns, count in rows])


# ---------------------------------------------------------------- gyre gc trace beside the cache service

def traced(system, words):
    """The cache service with `gyre gc trace` attached from its start."""
    gyre = os.environ.get("GYRE") or os.path.join(bench.BUILD, "gyre")
    child = subprocess.Popen([os.path.join(system.folder, words[0])] + words[1:], env=system.environment(),
                             stdout=subprocess.PIPE, text=True)
    time.sleep(0.2)
    trace = subprocess.Popen([gyre, "gc", "trace", "pid", str(child.pid)], stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE, text=True)
    try:
        line, _ = child.communicate(timeout=600)
        if child.returncode != 0:
            raise SystemExit("cache with gyre gc trace failed with status %d" % child.returncode)
        if trace.poll() not in (None, 0):
            raise SystemExit("gyre gc trace ended: %s" % trace.stderr.read())
        return parse(line)
    finally:
        if trace.poll() is None:
            trace.send_signal(signal.SIGINT)
            trace.wait(20)


class Traced(System):
    def __init__(self, attached):
        super().__init__("gyre")
        self.name, self.attached = "traced" if attached else "alone", attached


def trace_cost(options):
    """Loss of throughput, in wall and in CPU time; the ratio is taken within each round."""
    words = ["cache", "operations=%d" % (3000000 if options.quick else 10000000)]
    measured = bench.interleave(
        [Traced(False), Traced(True)], options.rounds or (3 if options.quick else 5),
        lambda one: traced(one, words) if one.attached else run(one, words))
    pairs = list(zip(measured["alone"], measured["traced"]))
    wall_s = metric(measured["alone"], "wall_s")
    return (bench.median([b["wall_s"] / a["wall_s"] for a, b in pairs]) - 1,
            bench.median([b["cpu_s"] / a["cpu_s"] for a, b in pairs]) - 1, wall_s)


# ---------------------------------------------------------------- what is asked

class Targets:
    def __init__(self, results):
        self.results, self.rows = results, []

    def value(self, workload, system):
        runs = self.results.get(workload, {}).get(system)
        if not runs:
            return None
        one = next(entry for entry in WORKLOADS if entry.name == workload)
        return bench.median([one.figure(run_) for run_ in runs])

    def add(self, what, asked, value, reached, form="%.2f"):
        self.rows.append([what, asked, form % value, "yes" if reached else "MISSED"])

    def at_most(self, what, value, limit, form="%.2f"):
        if value is not None:
            self.add(what, ("at most " + form) % limit, value, value <= limit, form)

    def ratio(self, what, workload, peer, limit):
        ours, theirs = self.value(workload, "gyre"), self.value(workload, peer)
        if ours and theirs:
            self.at_most("%s, time to %s's" % (what, peer), ours / theirs, limit)

    def faster(self, what, workload, peer, times):
        ours, theirs = self.value(workload, "gyre"), self.value(workload, peer)
        if ours and theirs:
            self.add("%s, times as fast as %s" % (what, peer), "at least %.1f" % times, theirs / ours,
                     theirs / ours >= times)

    def all(self, barrier_rows, trace):
        for name, what in (("trees", "binary trees"), ("gcbench", "GCBench")):
            self.ratio(what, name, "bdwgc", 0.5)
            self.ratio(what, name, "go", 0.5)
            self.ratio(what, name, "malloc", 1.0)
        self.cache()
        self.faster("random graph", "graph-random", "bdwgc", 4)
        self.faster("graph in order", "graph-near", "bdwgc", 5)
        self.one_cpu()
        self.at_most("short-lived objects, ns each", self.value("short", "gyre"), 15, "%.1f")
        self.pauses()
        counts = {what: count for what, name, _, count in barrier_rows or [] if name == "gyre"}
        if counts.get("plain store") and counts.get("gyre_set, idle"):
            self.at_most("barrier, idle: instructions more than store and flag test",
                         counts["gyre_set, idle"] - counts["plain store"] - 2, 2)
        if trace:
            self.at_most("gyre gc trace on the cache service (%.0f s), %% of throughput" % trace[2],
                         100 * trace[0], 1)
            self.at_most("the same, % of CPU time", 100 * trace[1], 1)
        return bench.table(["target", "asked", "got", "reached"], self.rows)

    def cache(self):
        gyre, go = (self.results.get("cache", {}).get(name) for name in ("gyre", "go"))
        if not gyre or not go:
            return
        self.add("cache service, ops/s to Go's", "at least 1.50", mops(gyre) / mops(go), mops(gyre) >= 1.5 * mops(go))
        self.at_most("its p99.9 to Go's", metric(gyre, "p999_us") / metric(go, "p999_us"), 0.34)
        self.at_most("its longest pause to Go's", metric(gyre, "pause_max_us") / metric(go, "pause_max_us"), 1)
        self.at_most("its peak RSS to Go's", metric(gyre, "peak_kib") / metric(go, "peak_kib"), 0.75)

    def one_cpu(self):
        runs = self.results.get("one-cpu", {}).get("gyre")
        if runs:
            self.at_most("cache service on one CPU: longest stall, ms", metric(runs, "longest_us") / 1e3, 5)

    def pauses(self):
        runs = {mib: self.results.get("pauses-%d" % mib, {}).get("gyre") for mib in (100, 500, 2048)}
        if runs[500]:
            share = 100 * metric(runs[500], "under_1ms")
            self.add("64 threads, 500 MiB: cycles whose pause is under 1 ms, %", "at least 99.0", share, share >= 99, "%.1f")
        if runs[100] and runs[2048]:
            self.at_most("median pause with 2 GiB to that with 100 MiB",
                         metric(runs[2048], "stop_p50_us") / metric(runs[100], "stop_p50_us"), 1.3)


# ---------------------------------------------------------------- main

def go_version():
    try:
        with open(os.path.join(OUT, "go", "VERSION")) as file:
            return file.read().split()[2][2:]
    except OSError:
        return "unknown"


def build(names):
    wanted = sorted({"malloc" if name == "malloc-gyre" else name for name in names})
    env = dict(os.environ, GYRE_BUILD=bench.BUILD)
    done = subprocess.run(["sh", os.path.join(HERE, "build.sh"), OUT] + wanted, env=env)
    if done.returncode != 0:
        raise SystemExit("the programs could not be built")


def progress(workload, measured):
    cells = []
    for name, runs in measured.items():
        if workload.name in TIMED:
            cells.append("%s %s" % (name, brief(bench.median([workload.figure(run_) for run_ in runs]))))
        elif workload.name in ("cache", "one-cpu"):
            cells.append("%s %.2f M/s" % (name, mops(runs)))
        else:
            cells.append("%s p99 %.2f ms" % (name, metric(runs, "stop_p99_us") / 1e3))
    others = [run_["others"] for runs in measured.values() for run_ in runs]
    print("%-14s %s  (others: %.0f %% of the CPUs)" % (workload.name, "  ".join(cells), 100 * bench.median(others)),
          flush=True)


def others_text(results):
    others = sorted(run_["others"] for measured in results.values() for runs in measured.values() for run_ in runs)
    if not others:
        return ""
    return "Other processes had %.1f %% of the CPUs during the median run, %.1f %% during the worst." % (
        100 * bench.median(others), 100 * others[-1])


def sections(results, names, barrier_rows, trace):
    targets = Targets(results)
    asked = targets.all(barrier_rows, trace)
    parts = [asked] if targets.rows else []
    if any(name in results for name in TIMED):
        collectors = [name for name in names if name in COLLECTORS]
        parts += [time_table(results, names),
                  other_table(results, names, "peak RSS, MiB", "peak_kib", 1024, "%.0f"),
                  other_table(results, collectors, "longest pause, ms", "pause_max_us", 1e3, "%.2f")]
    if "cache" in results:
        parts.append(cache_table(results, names))
    if "one-cpu" in results:
        parts.append(cache_table(results, names, "one-cpu", "one thread on one CPU"))
    if any(name.startswith("pauses") for name in results):
        parts.append(pauses_table(results, names))
    if barrier_rows:
        parts.append(barrier_table(barrier_rows))
    if trace:
        parts.append("`gyre gc trace` on the cache service: %+.2f %% wall, %+.2f %% CPU (median over the rounds)." %
                     (100 * trace[0], 100 * trace[1]))
    if others_text(results):
        parts.append(others_text(results))
    return "\n\n".join(parts)


def kept(options, name, wanted, missing, make):
    """A part of the comparison: what --keep has of it, or made now; None: left out, and told in `missing`."""
    path = os.path.join(options.keep, name + ".json") if options.keep else None
    if path and os.path.exists(path):
        with open(path) as file:
            return json.load(file)
    if not wanted:
        missing.append(name)
        return None
    made = make()
    if path:
        os.makedirs(options.keep, exist_ok=True)
        with open(path + ".new", "w") as file:
            json.dump(made, file)
        os.rename(path + ".new", path)
    return made


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description="Gyre's collector against its peers")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--quick", action="store_true", default=os.environ.get("QUICK", "") not in ("", "0"))
    parser.add_argument("--only", help="workloads with WORD in their names; also: barrier, trace")
    parser.add_argument("--systems", help="of " + ",".join(ALL))
    parser.add_argument("--json", help="also write every run to this file")
    parser.add_argument("--no-report", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--patience", type=int, default=2)
    parser.add_argument("--keep", help="folder for finished parts, which are not run again")
    options = parser.parse_args()
    global patience
    patience = options.patience
    if options.list:
        for workload in WORKLOADS:
            print("%-14s %-40s %s" % (workload.name, " ".join(workload.full), ",".join(workload.systems)))
        return
    names = options.systems.split(",") if options.systems else list(ALL)
    if not os.path.exists(LIBRARY):
        print("LEFT OUT: gyre, malloc-gyre (no libgyre.so in the build folder; make first)")
        names = [name for name in names if "gyre" not in name]
    build(names)
    systems = [System(name) for name in names]
    words = options.only.split(",") if options.only else None

    def wanted(name):
        return not words or any(word in name for word in words)

    results, missing = {}, []
    for workload in WORKLOADS:
        if not any(name in workload.systems for name in names):
            continue
        measured = kept(options, workload.name, wanted(workload.name), missing,
                        lambda one=workload: measure(one, systems, options))
        if measured:
            results[workload.name] = measured
            progress(workload, measured)
    barrier_rows = kept(options, "barrier", wanted("barrier"), missing, lambda: barrier(systems, options))
    has_command = os.path.exists(os.environ.get("GYRE") or os.path.join(bench.BUILD, "gyre"))
    trace = None
    if "gyre" in names and has_command:
        trace = kept(options, "trace", wanted("trace"), missing, lambda: trace_cost(options))
    bench.PEERS = {"glibc": (None, "libc6"), "bdwgc": ("libgc.so.1", "libgc-dev")}
    text = sections(results, names, barrier_rows, trace)
    text += "\n\nGo %s. How it is compared: `tests/bench/gc/compare.py`; what a workload does: its C source." % go_version()
    print("\n" + text)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=1)
    if not options.quick and not missing and not options.systems and not options.no_report:
        bench.report("gc", "The collector against bdwgc, Go and malloc/free", "make bench-gc", text)


if __name__ == "__main__":
    sys.exit(main())
