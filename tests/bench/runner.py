#!/usr/bin/env python3
"""runner - runs the benchmark programs of this folder under several allocators and compares them.

The scripts run-*.sh call it; each has a page of its own in RESULTS.md, written by `report`.

    runner.py alloc   [--rounds N] [--quick] [--only WORD,...] [--allocators A,B,...] [--no-report]
    runner.py sampler [--rounds N] [--quick]
    runner.py instr   [--quick] [--library NAME=PATH ...]
    runner.py idle    [--quick] [--dist NAME,...]
    runner.py redis   [--rounds N] [--quick] [--modes M,...]
    runner.py list

How a comparison is made
  - One binary, never linked with an allocator; the allocator comes by LD_PRELOAD, glibc by none. Only
    the child is preloaded, never this interpreter.
  - Interleaved: every round runs every allocator once, A B C D E, then B C D E A, and so on, so
    that a slow minute of the machine falls upon all of them, and the place in the round is shared too.
  - The figure of a workload is the median over the rounds of the child's own clock. `wall` decides;
    CPU time stands beside it. Spread is (75th - 25th percentile) / median: where it is above 5 %, the
    table says so, and a rerun with more rounds is in order before anything is concluded.
  - Everything is printed as a ratio to the best peer of that workload (peers: all but gyre).

What an allocator cannot run is an error, except that gyre is left out, loudly, while its library does
not exist; a peer that is not installed is left out, loudly, too.
"""
import argparse
import concurrent.futures
import datetime
import json
import math
import os
import platform
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SRC = os.environ.get("GYRE_SRC") or os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("GYRE_BUILD") or os.path.join(SRC, "build")
PROGRAMS = os.environ.get("GYRE_BENCH_PROGRAMS") or os.path.join(BUILD, "tests", "bench")
RESULTS = os.environ.get("GYRE_BENCH_RESULTS") or os.path.join(HERE, "RESULTS.md")

# ---------------------------------------------------------------- allocators

LIBRARY_FOLDERS = ["/usr/lib/%s-linux-gnu" % platform.machine(), "/usr/lib64", "/usr/lib",
                   "/usr/local/lib"]
# name -> (file, Debian package)
PEERS = {
    "glibc": (None, "libc6"),
    "jemalloc": ("libjemalloc.so.2", "libjemalloc2"),
    "tcmalloc": ("libtcmalloc_minimal.so.4", "libtcmalloc-minimal4"),
    "mimalloc": ("libmimalloc.so.2.0", "libmimalloc2.0"),
}


class Allocator:
    def __init__(self, name, path, env=None):
        self.name, self.path, self.env = name, path, env or {}

    def environment(self):
        env = dict(os.environ)
        for name in ("LD_PRELOAD", "MALLOC_CONF", "GYRE_OPTIONS"):
            env.pop(name, None)
        if self.path:
            env["LD_PRELOAD"] = self.path
        env.update(self.env)
        return env


def find_library(name):
    for folder in LIBRARY_FOLDERS:
        path = os.path.join(folder, name)
        if os.path.exists(path):
            return path
    return None


def allocators(wanted=None):
    found = []
    for name, (library, package) in PEERS.items():
        if wanted and name not in wanted:
            continue
        path = find_library(library) if library else None
        if library and not path:
            print("LEFT OUT: %s (%s is not installed: package %s)" % (name, library, package))
            continue
        found.append(Allocator(name, path))
    if not wanted or "gyre" in wanted:
        path = os.environ.get("GYRE_LIB") or os.path.join(BUILD, "libgyre.so")
        if os.path.exists(path):
            found.append(Allocator("gyre", path))
        else:
            print("LEFT OUT: gyre (no libgyre.so in the build folder; make first)")
    return found


def program_path(name):
    path = os.path.join(PROGRAMS, name)
    if not os.path.exists(path):
        raise SystemExit("%s is not built: make bench-build" % name)
    return path


def run_child(allocator, words, timeout=300):
    """One run of a program; its name=value line as a dict."""
    program = program_path(words[0])
    done = subprocess.run([program] + words[1:], env=allocator.environment(), timeout=timeout,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit("%s: %s failed with status %d\n%s" %
                         (allocator.name, " ".join(words), done.returncode, done.stderr))
    fields = (word.partition("=") for word in done.stdout.split())
    return {name: float(value) for name, _, value in fields}


# ---------------------------------------------------------------- workloads

class Workload:
    """`scaled` names the argument that is divided in quick mode."""

    def __init__(self, group, name, words, scaled, count):
        self.group, self.name, self.words = group, name, words.split()
        self.scaled, self.count = scaled, count

    def command(self, divide):
        return self.words + ["%s=%d" % (self.scaled, max(1, int(self.count / divide)))]

    def plan(self, chosen, divide, limit_s):
        """The command for each allocator: some peers take a hundred times as long as others, and a run of
        theirs is cut to about limit_s by doing less; what is compared is time per operation."""
        commands = {}
        for allocator in chosen:
            took_s = run_child(allocator, self.command(divide * 20))["wall_s"]
            whole_s = took_s * 20
            if whole_s > limit_s:
                # Without what happens once (the first touch of memory), which more work would spread.
                more_s = run_child(allocator, self.command(divide * 5))["wall_s"]
                whole_s = max(more_s - took_s, more_s / 20) * 20 / 3 + took_s
            commands[allocator.name] = self.command(divide * max(1.0, whole_s / limit_s))
        return commands


def human(size):
    return "%dK" % (size >> 10) if size >= 1024 and size % 1024 == 0 else "%d" % size


def all_workloads():
    table = []

    def add(group, name, words, scaled, count):
        table.append(Workload(group, name, words, scaled, count))

    for size, pairs in ((16, 30e6), (64, 30e6), (256, 30e6), (1024, 30e6), (8192, 15e6)):
        add("pair", "pair-" + human(size), "fixed size=%d" % size, "pairs", pairs)
    for size, pairs in ((16, 25e6), (64, 25e6), (256, 20e6), (1024, 12e6), (8192, 4e6), (32768, 15e5)):
        for order in ("same", "reverse"):
            add("batch100", "batch100-%s-%s" % (human(size), order),
                "fixed size=%d batch=100 order=%s" % (size, order), "pairs", pairs)
    add("large", "batch100-100K", "fixed size=102400 batch=100 touch=pages", "pairs", 4e5)
    add("large", "batch100-100K-reverse", "fixed size=102400 batch=100 order=reverse touch=pages", "pairs", 4e5)
    add("large", "batch100-1M", "fixed size=1048576 batch=100 touch=pages", "pairs", 8e4)
    add("large", "batch20-1M-unused", "fixed size=1048576 batch=20 touch=word", "pairs", 4e5)
    for size, pairs in ((16, 20e6), (64, 15e6), (256, 8e6), (1024, 3e6)):
        add("batch10000", "batch10000-%s" % human(size),
            "fixed size=%d batch=10000 order=random" % size, "pairs", pairs)
    add("mixed", "mixed-16..1024-1t", "mixed min=16 max=1024 slots=10000", "steps", 10e6)
    add("mixed", "mixed-8..16000-1t", "mixed min=8 max=16000 slots=10000", "steps", 6e6)
    add("mixed", "mixed-8..16000-2t", "mixed threads=2 min=8 max=16000 slots=10000", "steps", 12e6)
    add("mixed", "mixed-bursts-2t", "mixed threads=2 min=16 max=4096 slots=20000 bursts=50",
        "steps", 10e6)
    add("large", "mixed-16K..1M-1t", "mixed min=16384 max=1048576 slots=100 dist=log", "steps", 3e5)
    add("calloc", "calloc-16..4096", "mixed call=calloc min=16 max=4096 slots=5000", "steps", 7e6)
    add("calloc", "calloc-64K..1M", "mixed call=calloc min=65536 max=1048576 slots=50 fill=1", "steps", 1e4)
    add("realloc", "realloc-mixed", "mixed call=realloc min=16 max=8192 slots=5000", "steps", 4e6)
    add("realloc", "grow-64K", "programs mode=grow max=64K texts=16", "rounds", 10000)
    add("realloc", "grow-64M", "programs mode=grow max=64M", "rounds", 6)
    add("realloc", "exact-appends", "programs mode=buffers max=16K", "rounds", 8e6)
    add("threads", "pipe-1:1", "handoff mode=pipe threads=2 batch=256", "operations", 10e6)
    add("threads", "pipe-1:1-small-batch", "handoff mode=pipe threads=2 batch=32 max=128",
        "operations", 8e6)
    add("threads", "pipe-4:4", "handoff mode=pipe threads=8 batch=256", "operations", 10e6)
    add("threads", "server-2t", "handoff mode=server threads=2 min=10 max=500", "operations", 12e6)
    add("threads", "many-64t", "handoff mode=many threads=64 max=1024", "operations", 10e6)
    add("threads", "spawn-64t", "handoff mode=spawn threads=64 max=256", "operations", 4e6)
    add("programs", "trees", "programs mode=trees depth=16", "rounds", 20)
    add("programs", "bignum", "programs mode=bignum", "rounds", 8e6)
    add("programs", "cover", "programs mode=cover", "rounds", 1500)
    add("programs", "groups", "programs mode=groups", "rounds", 40000)
    add("programs", "c++-hash", "containers mode=hash keys=100000", "rounds", 15e5)
    add("programs", "c++-map", "containers mode=map keys=50000", "rounds", 15e5)
    add("programs", "c++-strings", "containers mode=strings", "rounds", 400e3)
    add("programs", "c++-lists", "containers mode=lists keys=30000", "rounds", 25e5)
    add("startup", "startup-100", "startup", "execs", 200)
    return table


# ---------------------------------------------------------------- measuring

def interleave(things, rounds, action, note=None):
    """action(thing) for every thing in every round, the order rotated by one each round."""
    results = {thing.name: [] for thing in things}
    for number in range(rounds):
        turn = number % len(things)
        for thing in things[turn:] + things[:turn]:
            results[thing.name].append(action(thing))
        if note:
            note(number)
    return results


def median(values):
    return statistics.median(values)


def spread(values):
    if len(values) < 4:
        return (max(values) - min(values)) / median(values) if median(values) else 0
    low, _, high = statistics.quantiles(values, n=4)
    return (high - low) / median(values) if median(values) else 0


def geomean(values):
    return math.exp(sum(math.log(value) for value in values) / len(values))


def column(results, name):
    return {who: [run[name] for run in runs] for who, runs in results.items()}


# ---------------------------------------------------------------- tables and the report

def table(header, rows):
    """A table that reads well in a terminal and is Markdown."""
    cells = [header] + [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for index, row in enumerate(cells):
        padded = [cell.ljust(widths[i]) if i == 0 else cell.rjust(widths[i])
                  for i, cell in enumerate(row)]
        lines.append("| " + " | ".join(padded) + " |")
        if index == 0:
            lines.append("|" + "|".join("-" * (width + 1) + ("-" if i == 0 else ":")
                                        for i, width in enumerate(widths)) + "|")
    return "\n".join(lines)


def package_version(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() if done.returncode == 0 else "version unknown"


def machine():
    model = "unknown CPU"
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    with open("/proc/meminfo") as file:
        memory_gib = int(file.readline().split()[1]) / (1 << 20)
    huge = "unknown"
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
            huge = re.search(r"\[(\w+)\]", file.read()).group(1)
    except (OSError, AttributeError):
        pass
    commit = subprocess.run(["git", "-C", SRC, "rev-parse", "--short", "HEAD"],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
    lines = [
        "- date: %s; commit: %s" % (datetime.date.today().isoformat(), commit or "unknown"),
        "- machine: %s, %d CPUs, %.0f GiB, kernel %s, transparent huge pages: %s; load average at the end: %.1f" %
        (model, os.cpu_count(), memory_gib, re.match(r"[\d.]*\d", platform.release()).group(0), huge, os.getloadavg()[0]),
        "- peers: " + ", ".join("%s %s" % (name, package_version(package))
                                for name, (_, package) in PEERS.items()),
    ]
    return "\n".join(lines)


def report(section, title, command, text):
    """Replaces one section of RESULTS.md, between its two marks; the other sections stay."""
    begin, end = "<!-- begin %s -->" % section, "<!-- end %s -->" % section
    block = "%s\n## %s\n\n`%s`\n\n%s\n\n%s\n%s" % (begin, title, command, machine(), text, end)
    try:
        with open(RESULTS) as file:
            old = file.read()
    except FileNotFoundError:
        old = ("# Results\n\nWritten by the scripts of this folder; each replaces its own section when it has run "
               "in full.\nHow the comparison is made is told at the top of `runner.py`; what a workload does, at "
               "the top of its program.\n")
    if begin in old and end in old:
        head, rest = old.split(begin, 1)
        new = head + block + rest.split(end, 1)[1]
    else:
        new = old.rstrip("\n") + "\n\n" + block + "\n"
    with open(RESULTS + ".new", "w") as file:
        file.write(new)
    os.replace(RESULTS + ".new", RESULTS)
    print("\nwritten: section '%s' of %s" % (section, os.path.relpath(RESULTS, SRC)))


# ---------------------------------------------------------------- alloc

def compare(workload, measured, names):
    """The row of one workload: medians, ratios to the best peer, spread."""
    peers = [name for name in names if name != "gyre"]
    row = {"workload": workload.name, "group": workload.group}
    for runs in measured.values():
        for run in runs:
            run["wall_ns"] = run["wall_s"] / run["operations"] * 1e9
            run["cpu_ns"] = run["cpu_s"] / run["operations"] * 1e9
    for metric in ("wall_ns", "cpu_ns", "peak_kib"):
        row[metric] = {name: median(values) for name, values in column(measured, metric).items()}
    row["least_ns"] = {name: min(values) for name, values in column(measured, "wall_ns").items()}
    row["least_cpu_ns"] = {name: min(values) for name, values in column(measured, "cpu_ns").items()}
    row["best"] = min(row["wall_ns"][name] for name in peers)
    row["best_name"] = min(peers, key=lambda name: row["wall_ns"][name])
    row["spread"] = max(spread(values) for values in column(measured, "wall_ns").values())
    return row


def time_table(rows, names):
    body = []
    for row in rows:
        cells = [row["workload"], "%.1f" % (row["best"])]
        for name in names:
            ratio = row["wall_ns"][name] / row["best"]
            cells.append("%.2f%s" % (ratio, " !" if name == "gyre" and ratio > 1.15 else ""))
        cells.append("%.0f %%%s" % (row["spread"] * 100, " ~" if row["spread"] > 0.05 else ""))
        body.append(cells)
    return table(["workload", "best peer, ns/op"] + names + ["spread"], body)


def memory_table(rows, names):
    body = []
    for row in rows:
        lean = lean_kib(row)
        cells = [row["workload"], "%.1f" % (lean / 1024)]
        for name in names:
            ratio = row["peak_kib"][name] / lean
            cells.append("%.2f%s" % (ratio, " !" if name == "gyre" and ratio > 1.10 else ""))
        body.append(cells)
    return table(["peak RSS", "leaner of jemalloc, mimalloc, MiB"] + names, body)


def lean_kib(row):
    return min(row["peak_kib"][name] for name in ("jemalloc", "mimalloc") if name in row["peak_kib"])


def sums(rows, names):
    """The lines that a reader wants first."""
    def mean_of(metric, name):
        peers = [peer for peer in names if peer != "gyre"]
        return geomean([row[metric][name] / min(row[metric][peer] for peer in peers) for row in rows])

    def memory_of(name, at_least_kib):
        chosen = [row for row in rows if lean_kib(row) >= at_least_kib]
        return "%.2f" % geomean([row["peak_kib"][name] / lean_kib(row) for row in chosen]) if chosen else "-"

    body = [["time (wall), geometric mean of ratios to the best peer"] +
            ["%.3f" % mean_of("wall_ns", name) for name in names],
            ["the same of the fastest rounds"] + ["%.3f" % mean_of("least_ns", name) for name in names],
            ["the same in CPU time"] + ["%.3f" % mean_of("cpu_ns", name) for name in names],
            ["the same in CPU time, fastest rounds"] + ["%.3f" % mean_of("least_cpu_ns", name) for name in names],
            ["worst single workload"] +
            ["%.2f" % max(row["wall_ns"][name] / row["best"] for row in rows) for name in names]]
    if "jemalloc" in names and "mimalloc" in names:
        body.append(["peak RSS to the leaner of jemalloc and mimalloc, mean"] +
                    [memory_of(name, 0) for name in names])
        body.append(["the same, of workloads that use 16 MiB or more"] +
                    [memory_of(name, 16 << 10) for name in names])
    return table(["over %d workloads" % len(rows)] + names, body)


def by_group(rows, names):
    groups = []
    for row in rows:
        if row["group"] not in groups:
            groups.append(row["group"])
    body = []
    for group in groups:
        chosen = [row for row in rows if row["group"] == group]
        body.append(["%s (%d)" % (group, len(chosen))] +
                    ["%.2f" % geomean([row["wall_ns"][name] / row["best"] for row in chosen])
                     for name in names])
    return table(["time by group"] + names, body)


def verdict(rows, names):
    if "gyre" not in names:
        return "gyre was not there: no verdict."
    peers = [name for name in names if name != "gyre"]
    bad = [(row["wall_ns"]["gyre"] / row["best"], row["workload"]) for row in rows
           if row["wall_ns"]["gyre"] > 1.15 * row["best"]]
    means = {name: geomean([row["wall_ns"][name] / row["best"] for row in rows]) for name in names}
    best_peer = min(peers, key=lambda name: means[name])
    lines = ["gyre's mean %.3f, the best peer's (%s) %.3f: %s" %
             (means["gyre"], best_peer, means[best_peer],
              "as asked" if means["gyre"] <= means[best_peer] else "BEHIND")]
    lines.append("workloads above 1.15 times their best peer: " +
                 (", ".join("%s %.2f" % (name, ratio) for ratio, name in sorted(bad, reverse=True))
                  or "none"))
    if "jemalloc" in names and "mimalloc" in names:
        fat = [(row["peak_kib"]["gyre"] / lean_kib(row), row["workload"]) for row in rows
               if row["peak_kib"]["gyre"] > 1.10 * lean_kib(row)]
        mean = geomean([row["peak_kib"]["gyre"] / lean_kib(row) for row in rows])
        lines.append("peak RSS to the leaner of jemalloc and mimalloc: %.3f in the mean (asked: at most 1.10); above it: %s" %
                     (mean, ", ".join("%s %.2f" % (name, ratio) for ratio, name in sorted(fat, reverse=True))
                      or "none"))
    return "\n".join(lines)


def command_alloc(options):
    chosen = allocators(options.allocators.split(",") if options.allocators else None)
    names = [allocator.name for allocator in chosen]
    workloads = all_workloads()
    if options.only:
        words = options.only.split(",")
        workloads = [workload for workload in workloads
                     if any(word == workload.group or word in workload.name for word in words)]
        if not workloads:
            raise SystemExit("no workload is named %s (runner.py list)" % options.only)
    rounds = options.rounds or (3 if options.quick else 5)
    divide = 12.0 if options.quick else 1.0
    print("%d workloads x %d allocators x %d rounds, interleaved; times in ns per operation" %
          (len(workloads), len(chosen), rounds))
    print("%-24s" % "" + "".join("%10s" % name for name in names) + "   (ratio of each to the best peer)")
    rows = []
    for workload in workloads:
        plan = workload.plan(chosen, divide / options.scale, 1.0 if not options.quick else 0.15)
        measured = interleave(chosen, rounds, lambda allocator: run_child(allocator, plan[allocator.name]))
        row = compare(workload, measured, names)
        rows.append(row)
        cells = "".join("%10.1f" % (row["wall_ns"][name]) for name in names)
        ratios = " ".join("%.2f" % (row["wall_ns"][name] / row["best"]) for name in names)
        print("%-24s%s   %s%s" % (workload.name, cells, ratios, "  ~" if row["spread"] > 0.05 else ""),
              flush=True)
    memory = "jemalloc" in names and "mimalloc" in names
    text = "\n\n".join([sums(rows, names), verdict(rows, names), by_group(rows, names),
                        time_table(rows, names)] + ([memory_table(rows, names)] if memory else []) +
                       ["`!` above what is asked of gyre (1.15 times the best peer in time, 1.10 in memory); `~` spread "
                        "over 5 %%; %d rounds, medians." % rounds])
    print("\n" + text)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(rows, file, indent=1)
    if not options.quick and not options.only and not options.no_report:
        command = "make bench-alloc"
        if options.rounds or options.scale != 1:
            command = "tests/bench/run-alloc.sh --rounds %d --scale %g" % (rounds, options.scale)
        report("alloc", "Time and peak memory against the peers", command, text)


# ---------------------------------------------------------------- sampler

def command_sampler(options):
    library = os.environ.get("GYRE_LIB") or os.path.join(BUILD, "libgyre.so")
    if not os.path.exists(library):
        raise SystemExit("there is no libgyre.so in the build folder; make first")
    modes = [Allocator("sample=0", library, {"GYRE_OPTIONS": "sample=0"}),
             Allocator("sample=512K", library, {"GYRE_OPTIONS": "sample=512K"}),
             Allocator("sample=64K", library, {"GYRE_OPTIONS": "sample=64K"})]
    rounds = options.rounds or (11 if options.quick else 31)
    body = []
    for name in ("mixed-16..1024-1t", "mixed-8..16000-1t", "c++-hash", "pair-64"):
        workload = next(one for one in all_workloads() if one.name == name)
        words = workload.command(3.0 if options.quick else 0.5)
        measured = interleave(modes, rounds, lambda mode: run_child(mode, words))
        times = column(measured, "cpu_s")
        off, on, often = (times[mode.name] for mode in modes)
        # Each round's runs stood side by side, so the ratio is taken within the round.
        body.append([name] + ["%+.2f %%" % (cost * 100) for cost in (
            median([b / a for a, b in zip(off, on)]) - 1, min(on) / min(off) - 1,
            (median([b / a for a, b in zip(off, often)]) - 1) / 8, (min(often) / min(off) - 1) / 8)] +
            ["%.1f %%" % (100 * max(spread(off), spread(on)))])
        print("  " + "  ".join(body[-1]), flush=True)
    text = table(["CPU time against sample=0", "512K, median ratio", "512K, fastest rounds",
                  "an eighth of 64K's, median", "an eighth of 64K's, fastest", "spread of the times"], body)
    text += ("\n\n%d rounds, interleaved. Asked: under 1 %% at 512K on the mixed workload (16..1024).\nThe cost is that of "
             "the samples, and 64K takes eight times as many: an eighth of its cost says the same with an eighth of the "
             "noise,\nbut for what the option sample_rate saves at 512K: at 64K there is no such limit." % rounds)
    print("\n" + text)
    if not options.quick:
        report("sampler", "What the always-on sampler costs", "tests/bench/run-sampler.sh", text)


# ---------------------------------------------------------------- instructions

FEW, MANY = 10000, 110000


def callgrind(allocator, words, folder):
    """Instructions of the whole process, ld.so and exit included."""
    out = os.path.join(folder, "callgrind.out")
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + out, "--quiet",
               "--soname-synonyms=somalloc=nouserintercepts", program_path(words[0])] + words[1:]
    env = allocator.environment()
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit("%s under callgrind: %s failed (%d)\n%s" %
                         (allocator.name, " ".join(words), done.returncode, done.stderr))
    with open(out) as file:
        found = re.search(r"^(?:summary|totals): (\d+)", file.read(), re.M)
    return int(found.group(1))


def instructions(allocator, words, folder):
    few = callgrind(allocator, words + [str(FEW)], folder)
    many = callgrind(allocator, words + [str(MANY)], folder)
    return (many - few) / (MANY - FEW)


INSTR_LOOPS = [
    ("malloc(64), free", "instr pair 64"), ("malloc(16), free", "instr pair 16"),
    ("malloc(1024), free", "instr pair 1024"), ("malloc(8192), free", "instr pair 8192"),
    ("malloc(32768), free", "instr pair 32768"),
    ("calloc(64), free", "instr calloc 64"), ("calloc(1024), free", "instr calloc 1024"),
    ("batch of 100, 64", "instr batch 64"), ("batch of 100, 1024", "instr batch 1024"),
    ("malloc(64), realloc(72), free", "instr realloc 64"),
    ("aligned_alloc(64, 256), free", "instr aligned 256"),
    ("new(64), delete", "instr_new new 64"), ("new(64), sized delete", "instr_new sized 64"),
]


def command_instr(options):
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is not installed")
    chosen = allocators(options.allocators.split(",") if options.allocators else None)
    for extra in options.libraries or []:
        name, _, path = extra.partition("=")
        chosen.append(Allocator(name, os.path.abspath(path)))
    loops = INSTR_LOOPS[:2] if options.quick else INSTR_LOOPS
    body = []
    with tempfile.TemporaryDirectory() as folder:
        for title, words in loops:
            if options.plain and title != loops[0][0]:
                continue
            counts = [instructions(allocator, words.split(), folder) for allocator in chosen]
            body.append([title] + ["%.1f" % count for count in counts])
            if options.plain:
                for allocator, count in zip(chosen, counts):
                    print("%s %.2f" % (allocator.name, count))
                return
            print("  " + "  ".join(body[-1]), flush=True)
    text = table(["instructions per operation"] + [allocator.name for allocator in chosen], body)
    text += ("\n\nCallgrind; the difference of runs with %d and %d operations over the difference of the counts: steady "
             "state, the caller's loop included.\nAsked of gyre: malloc(64), free at most 50; the same within 2 of "
             "a library built with PROBES=0 (column gyre-no-probes).\nUnder valgrind a library may see fewer "
             "features (restartable sequences among them) than natively." % (FEW, MANY))
    print("\n" + text)
    if not options.quick:
        report("instr", "Instructions", "make bench-instr", text)


# ---------------------------------------------------------------- idle RSS

DISTRIBUTIONS = {
    "service": ("90 % 16..256, 10 % ..8192", "dist=mix min=16 max=256 big=8192 small_percent=90"),
    "fixed-64": ("64 B", "dist=fixed min=64"),
    "fixed-256": ("256 B", "dist=fixed min=256"),
    "fixed-1024": ("1024 B", "dist=fixed min=1024"),
    "uniform-1024": ("uniform 16..1024", "dist=uniform min=16 max=1024"),
    "uniform-2048": ("uniform 16..2048", "dist=uniform min=16 max=2048"),
    "log-4096": ("log-uniform 16..4096", "dist=log min=16 max=4096"),
    "pow2-2048": ("powers of two 64..2048", "dist=pow2 min=64 max=2048"),
}

DISTRIBUTIONS_QUICK = ["service"]
DISTRIBUTIONS_FULL = ["service", "fixed-256", "log-4096", "pow2-2048"]


def idle_row(allocator, name, keep, mib, idle_s):
    label, words = DISTRIBUTIONS[name]
    run = run_child(allocator, ["idle_rss", "mib=%d" % mib, "keep=" + keep, "idle_s=%d" % idle_s] + words.split(),
                    timeout=600)
    # The pointers are the harness's; what is left is the program and its allocator.
    own_kib, array_kib = run["harness_kib"], run["objects"] * 8 / 1024
    figures = [run["live_kib"], run["peak_kib"] - array_kib, run["peak_huge_kib"], run["idle_kib"] - own_kib,
               run["idle_huge_kib"], run["trim_kib"] - own_kib]
    return [label, allocator.name] + ["%.0f" % (kib / 1024) for kib in figures]


def command_idle(options):
    chosen = allocators(options.allocators.split(",") if options.allocators else None)
    for allocator in list(chosen):
        if allocator.name == "jemalloc":
            chosen.append(Allocator("jemalloc-bg", allocator.path, {
                "MALLOC_CONF": "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0"}))
    names = options.dist.split(",") if options.dist else DISTRIBUTIONS_QUICK if options.quick else DISTRIBUTIONS_FULL
    mib = options.mib or (256 if options.quick else 1024)
    text = []
    for keep, title in (("random", "90 % freed at random"), ("run", "survivors in runs of 64 KiB")):
        body = []
        for name in names:
            # Most of the time is waiting, and nothing is timed: a few at once.
            with concurrent.futures.ThreadPoolExecutor(3) as pool:
                rows = list(pool.map(lambda one: idle_row(one, name, keep, mib, options.idle), chosen))
            for row in rows:
                print("  %-8s %s" % (keep, "  ".join(row)), flush=True)
            body += rows
        text.append("%s:\n\n" % title + table(
            ["sizes", "allocator", "live", "peak", "huge pages at the peak", "after %d s idle" % options.idle,
             "huge pages then", "after a trim"], body))
    text = ("Burst of %d MiB of small objects, RSS in MiB, the harness's own pointers taken off; nothing is called "
            "between the last free and the reading.\njemalloc-bg: "
            "background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0.\n\n" % mib) + "\n\n".join(text)
    print("\n" + text)
    if not options.quick and not options.dist:
        report("idle", "Memory after a burst, idle", "tests/bench/run-idle.sh", text)


# ---------------------------------------------------------------- redis

def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def status_kib(pid, field):
    with open("/proc/%d/status" % pid) as file:
        return int(re.search(field + r":\s+(\d+)", file.read()).group(1))


class Redis:
    """One server of one run; `requests` is what redis-benchmark reports for each command."""

    def __init__(self, allocator, folder):
        self.port = free_port()
        self.server = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--save", "", "--appendonly", "no", "--bind",
             "127.0.0.1", "--dir", folder, "--activedefrag", "no"],
            env=allocator.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if time.monotonic() > until or self.server.poll() is not None:
                    self.stop()
                    raise SystemExit("redis-server did not start with %s" % allocator.name)
                time.sleep(0.05)

    def benchmark(self, requests, clients, size, pipeline):
        done = subprocess.run(
            ["redis-benchmark", "-p", str(self.port), "-t", "set,get", "-n", str(requests), "-c", str(clients),
             "-d", str(size), "-P", str(pipeline), "-r", "100000", "--csv"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        rates = dict(re.findall(r'^"(SET|GET)","([0-9.]+)"', done.stdout, re.M))
        if done.returncode != 0 or len(rates) != 2 or "rror" in done.stderr:
            raise SystemExit("redis-benchmark failed: %s" % (done.stdout + done.stderr))
        return {name.lower(): float(rate) for name, rate in rates.items()}

    def cpu_s(self):
        with open("/proc/%d/stat" % self.server.pid) as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        if self.server.poll() is None:
            self.server.send_signal(signal.SIGTERM)
        try:
            self.server.wait(20)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()


def start_trace(pid):
    """`gyre alloc trace` on the server, its output thrown away."""
    gyre = os.environ.get("GYRE") or os.path.join(BUILD, "gyre")
    trace = subprocess.Popen([gyre, "alloc", "trace", "pid", str(pid)], stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE)
    time.sleep(1)
    if trace.poll() is not None:
        raise SystemExit("gyre alloc trace ended: %s" % trace.stderr.read().decode())
    return trace


# name -> (title, redis-benchmark's -P, bytes of a value, times as many requests)
REDIS_MODES = {"plain": ("-P 1", 1, 256, 1), "pipelined": ("-P 16", 16, 256, 4), "large": ("-P 1 -d 4096", 1, 4096, 1)}


def redis_run(allocator, requests, size, pipeline):
    """A server of its own, warmed up, measured: requests/s, the server's CPU seconds and peak."""
    with tempfile.TemporaryDirectory() as folder:
        redis = Redis(allocator, folder)
        trace = None
        try:
            redis.benchmark(2000, 50, size, pipeline)
            if allocator.name == "gyre+trace":
                trace = start_trace(redis.server.pid)
            before_s = redis.cpu_s()
            rates = redis.benchmark(requests, 50, size, pipeline)
            rates["cpu_s"] = redis.cpu_s() - before_s
            rates["peak_kib"] = status_kib(redis.server.pid, "VmHWM")
            if trace and trace.poll() is not None:
                raise SystemExit("gyre alloc trace ended early: %s" % trace.stderr.read().decode())
            return rates
        finally:
            if trace and trace.poll() is None:
                trace.send_signal(signal.SIGINT)
                trace.wait(20)
            redis.stop()


def command_redis(options):
    for program in ("redis-server", "redis-benchmark"):
        if not shutil.which(program):
            raise SystemExit("%s is not installed" % program)
    chosen = allocators(options.allocators.split(",") if options.allocators else None)
    gyre = next((one for one in chosen if one.name == "gyre"), None)
    if gyre and os.path.exists(os.environ.get("GYRE") or os.path.join(BUILD, "gyre")):
        chosen.append(Allocator("gyre+trace", gyre.path))
    requests = options.requests or (20000 if options.quick else 200000)
    rounds = options.rounds or (2 if options.quick else 5)
    modes = options.modes.split(",") if options.modes else ["plain"]
    text = []
    for mode in modes:
        title, pipeline, size, times = REDIS_MODES[mode]
        measured = interleave(chosen, rounds,
                              lambda allocator: redis_run(allocator, requests * times, size, pipeline))
        best = {}
        for metric in ("set", "get"):
            best[metric] = max(median([run[metric] for run in runs]) for name, runs in measured.items()
                               if not name.startswith("gyre"))
        body = []
        for allocator in chosen:
            runs = measured[allocator.name]
            figures = {metric: median([run[metric] for run in runs]) for metric in runs[0]}
            body.append([allocator.name] +
                        ["%.0f (%.3f)" % (figures[metric], figures[metric] / best[metric]) for metric in ("set", "get")] +
                        ["%.2f" % figures["cpu_s"], "%.1f" % (figures["peak_kib"] / 1024)])
        part = table(["%s, requests/s (to the best peer)" % title, "SET", "GET", "server's CPU, s", "peak, MiB"], body)
        print(part, flush=True)
        text.append(part)
    text = "\n\n".join(text) + ("\n\nredis-benchmark -t set,get -n %d -c 50 -d 256 -r 100000; %d rounds, interleaved, "
                                "medians.\nAsked of gyre: no error, and at least as fast as jemalloc and glibc, with "
                                "and without `gyre alloc trace` attached." % (requests, rounds))
    if not options.quick:
        report("redis", "redis-server under redis-benchmark", "tests/bench/run-redis.sh", text)


# ---------------------------------------------------------------- main

def main():
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description="Gyre's benchmarks", add_help=True)
    parser.add_argument("what", choices=["alloc", "sampler", "instr", "idle", "redis", "list"])
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--quick", action="store_true", default=os.environ.get("QUICK", "") not in ("", "0"))
    parser.add_argument("--only", help="workloads whose group is WORD or whose name has it in it")
    parser.add_argument("--allocators", help="names, comma-separated")
    parser.add_argument("--scale", type=float, default=1.0, help="multiply the work of each workload")
    parser.add_argument("--json", help="also write the figures to this file")
    parser.add_argument("--no-report", action="store_true")
    parser.add_argument("--library", dest="libraries", action="append", help="instr: NAME=PATH of one more library")
    parser.add_argument("--plain", action="store_true", help="instr: only the pair of 64, NAME COUNT lines")
    parser.add_argument("--dist", help="idle: names of distributions")
    parser.add_argument("--mib", type=int, default=0, help="idle: size of the burst")
    parser.add_argument("--idle", type=int, default=5, help="idle: seconds")
    parser.add_argument("--modes", help="redis: plain,pipelined,large")
    parser.add_argument("--requests", type=int, default=0, help="redis: -n")
    options = parser.parse_args()
    if options.what == "list":
        for workload in all_workloads():
            print("%-12s %-26s %s" % (workload.group, workload.name, " ".join(workload.command(1))))
        return
    {"alloc": command_alloc, "sampler": command_sampler, "instr": command_instr, "idle": command_idle,
     "redis": command_redis}[options.what](options)


if __name__ == "__main__":
    sys.exit(main())
