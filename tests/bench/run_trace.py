#!/usr/bin/env python3
"""run_trace - what tracing costs the traced: on a mixed workload, and on redis.

    run_trace.py [--rounds N] [--quick] [--only mixed|redis] [--no-peers] [--no-report]

How it is measured
  - mixed: one process (traced.c) does the same piece of work again and again; between two pieces a
    tracer is attached or taken away. In each round every kind of tracing has its turn, each with an
    untraced piece before it. What counts is the CPU time of the traced thread, which has the probes'
    cost in it: added ns per event = (traced - untraced) / events, two events a step. The fastest
    rounds and the median of the rounds' differences are shown. The thread is bound to one CPU; who
    reads the events has the others.
  - redis: one server on Gyre, redis-benchmark from outside; the kinds of tracing by turns in each
    round. CPU per request is the server's own.
  - Today's ways run on glibc's malloc (redis: on its own jemalloc), each against its own untraced
    rounds; bpftrace for so few events that it ends.

Counted and shipped: a thread that records quickly reads the clock for one event in eight (`clock shared`
of gyre-alloc(8)); "a time for each": for each.

What a tracer lost is printed beside its cost: a cheap tracer that loses events is no bargain.
"""
import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import runner
from runner import BUILD, Allocator, median, table

GYRE = os.environ.get("GYRE") or os.path.join(BUILD, "gyre")
LIBRARY = os.environ.get("GYRE_LIB") or os.path.join(BUILD, "libgyre.so")
LIBC = "/usr/lib/x86_64-linux-gnu/libc.so.6"

# name, words of `gyre alloc ...` behind `pid PID`
KINDS = [
    ("sampled trace", ["trace", "sampled"]),
    ("every event counted", ["hist", "by", "class"]),
    ("every event shipped", ["trace", "every", "sum", "ring", "64M", "clock", "shared"]),
    ("shipped, a time for each", ["trace", "every", "sum", "ring", "64M", "clock", "each"]),
    ("counted, with stacks", ["hist", "by", "site"]),
    ("shipped, with stacks", ["trace", "every", "sum", "ring", "64M", "stack", "line"]),
]


class Gyre:
    """`gyre alloc ...` on a process, begun when the constructor returns; `end` returns its books."""

    def __init__(self, pid, words):
        self.process = subprocess.Popen([GYRE, "-j", "alloc", words[0], "pid", str(pid), *words[1:]],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        head = b""
        while b'"events":[' not in head:
            part = os.read(self.process.stdout.fileno(), 65536)
            if not part:
                raise SystemExit("gyre %s: %s %s" % (" ".join(words), head.decode(),
                                                     self.process.stderr.read().decode()))
            head += part
        self.head = head

    def end(self):
        self.process.send_signal(signal.SIGINT)
        text = self.head + self.process.communicate()[0]
        return json.loads(text)


class Bpftrace:
    def __init__(self, pid, library, stacks):
        key = "ustack(8)" if stacks else ""
        program = ("uprobe:%s:malloc { @m%s = count(); } uprobe:%s:free { @f = count(); } "
                   "BEGIN { printf(\"begun\\n\"); }" % (library, "[%s]" % key if key else "", library))
        self.process = subprocess.Popen(["bpftrace", "-p", str(pid), "-e", program], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        while line and "begun" not in line:
            line = self.process.stdout.readline()
        if not line:
            raise SystemExit("bpftrace: " + self.process.stderr.read())
        time.sleep(0.5)

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate()
        return {}


class Memleak:
    def __init__(self, pid):
        self.process = subprocess.Popen([MEMLEAK, "-p", str(pid), "1000"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(8)
        if self.process.poll() is not None:
            self.why = self.process.stdout.read().strip().splitlines()[-1:]
            raise RuntimeError(" ".join(self.why))

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate()
        return {}


MEMLEAK_SAYS = ("Not there: bcc's memleak sees no allocation of a redis on jemalloc, and without kernel headers it "
                "does not start at all.")
MEMLEAK = shutil.which("memleak-bpfcc") or shutil.which("memleak")


class Traced:
    """The mixed workload."""

    def __init__(self, library=None, before=()):
        allocator = Allocator("", library)
        cpu = os.cpu_count() - 1
        self.process = subprocess.Popen([*before, runner.program_path("traced"), "cpu=%d" % cpu],
                                        env=allocator.environment(), text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        line = self.process.stdout.readline()
        while line and "ready" not in line: # heaptrack speaks first
            line = self.process.stdout.readline()
        self.pid = self.process.pid

    def run(self, steps):
        """CPU ns per event."""
        self.process.stdin.write("run %d\n" % steps)
        self.process.stdin.flush()
        return int(self.process.stdout.readline().split()[2]) / (2 * steps)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def row(name, off, on, lost):
    fastest = min(on) - min(off)
    middle = median([b - a for a, b in zip(off, on)])
    return [name, "%.1f" % min(off), "%.1f" % min(on), "%.1f" % fastest, "%.1f" % middle,
            "%.2f" % (min(on) / min(off)), lost]


def mixed_gyre(rounds, steps):
    process = Traced(LIBRARY)
    process.run(steps)
    off = {name: [] for name, _ in KINDS}
    on = {name: [] for name, _ in KINDS}
    lost = {name: [0, 0] for name, _ in KINDS}
    nobody = ([], [])
    for _ in range(rounds):
        nobody[0].append(process.run(steps))
        nobody[1].append(process.run(steps))
        for name, words in KINDS:
            off[name].append(process.run(steps))
            tracer = Gyre(process.pid, words)
            on[name].append(process.run(steps))
            document = tracer.end()
            lost[name][0] += document["lost"]
            lost[name][1] += document.get("books", {}).get("announced", document["event_count"])
    process.end()
    rows = [row("nobody attached (twice)", *nobody, "-")]
    for name, _ in KINDS:
        rows.append(row(name, off[name], on[name], "%d of %d" % tuple(lost[name])))
    return rows


def peer(name, rounds, steps, make):
    process = Traced()
    process.run(steps)
    off, on = [], []
    try:
        for _ in range(rounds):
            off.append(process.run(steps * 10))
            tracer = make(process)
            on.append(process.run(steps))
            tracer.end()
    except RuntimeError as error:
        print("LEFT OUT: %s does not start here: %s" % (name, error))
        return []
    finally:
        process.end()
    return [row(name, off, on, "-")]


def heaptrack(rounds, steps):
    if not shutil.which("heaptrack"):
        print("LEFT OUT: heaptrack is not installed")
        return []
    with tempfile.TemporaryDirectory() as folder:
        plain = Traced()
        tracked = Traced(before=("heaptrack", "-o", os.path.join(folder, "out")))
        off, on = [], []
        for _ in range(rounds):
            off.append(plain.run(steps))
            on.append(tracked.run(steps))
        plain.end()
        tracked.end()
    return [row("heaptrack (glibc)", off, on, "-")]


def mixed(options):
    rounds = options.rounds or (3 if options.quick else 15)
    steps = 300000 if options.quick else 500000
    rows = mixed_gyre(rounds, steps)
    few, turns = (2000, 2) if options.quick else (20000, 2)
    if options.no_peers:
        return mixed_text(rows, rounds, steps)
    if shutil.which("bpftrace"):
        rows += peer("bpftrace, count malloc and free (glibc)", turns, few,
                     lambda process: Bpftrace(process.pid, LIBC, False))
        rows += peer("bpftrace, malloc with ustack (glibc)", turns, few,
                     lambda process: Bpftrace(process.pid, LIBC, True))
    else:
        print("LEFT OUT: bpftrace is not installed")
    if MEMLEAK:
        rows += peer("memleak (glibc)", turns, few, lambda process: Memleak(process.pid))
    else:
        print("LEFT OUT: memleak (bpfcc-tools) is not installed")
    rows += heaptrack(turns, steps // 2)
    return mixed_text(rows, rounds, steps)


def mixed_text(rows, rounds, steps):
    text = table(["mixed, CPU ns per event", "untraced", "traced", "added, fastest", "added, median",
                  "ratio", "lost"], rows)
    return text + ("\n\n%d rounds of %d events each. Asked: nobody: the same; every event, counted or shipped: at most 20 "
                   "ns added; with stacks: at most 60 ns." % (rounds, 2 * steps))


# ---------------------------------------------------------------- redis

HEAPTRACK = next((path for path in ("/usr/lib/heaptrack/libheaptrack_preload.so",
                                    "/usr/lib/x86_64-linux-gnu/heaptrack/libheaptrack_preload.so")
                  if os.path.exists(path)), None)


def cpu_ns(pid):
    """Of all threads; /proc/PID/stat counts in steps of 10 ms."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, task)) as file:
            total += int(file.read().split()[0])
    return total


def measure(redis, requests):
    before = cpu_ns(redis.server.pid)
    rates = redis.benchmark(requests, 50, 256, 1)
    rates["cpu_us"] = (cpu_ns(redis.server.pid) - before) / 1000 / (2 * requests)
    return rates


def redis_heaptrack(rounds, requests):
    if not HEAPTRACK:
        print("LEFT OUT: heaptrack is not installed")
        return {}
    names = ("nobody, beside heaptrack", "heaptrack, from the start")
    measured = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        servers = [runner.Redis(Allocator("jemalloc", None), folder),
                   runner.Redis(Allocator("heaptrack", HEAPTRACK, # without the interpreter behind a pipe
                                          {"DUMP_HEAPTRACK_OUTPUT": os.path.join(folder, "out")}),
                                folder)]
        try:
            for server in servers:
                server.benchmark(20000, 50, 256, 1)
            for number in range(rounds):
                for name, server in list(zip(names, servers))[::-1 if number % 2 else 1]:
                    measured[name].append({**measure(server, requests), "lost": 0, "events": 0})
        finally:
            for server in servers:
                server.stop()
    return measured


def redis_rounds(allocator, kinds, rounds, requests):
    """{kind: [{set, get, cpu_us, lost}]} of one server, the kinds by turns."""
    measured = {name: [] for name, _ in kinds}
    with tempfile.TemporaryDirectory() as folder:
        redis = runner.Redis(allocator, folder)
        try:
            redis.benchmark(20000, 50, 256, 1)
            for number in range(rounds):
                turn = number % len(kinds)
                for name, make in kinds[turn:] + kinds[:turn]:
                    tracer = make(redis.server.pid) if make else None
                    rates = measure(redis, requests)
                    document = tracer.end() if tracer else {}
                    rates["lost"] = document.get("lost", 0)
                    rates["events"] = document.get("books", {}).get("announced", 0)
                    measured[name].append(rates)
        finally:
            redis.stop()
    return measured


def redis_rows(measured, label=""):
    names = list(measured)
    best = {key: median([one[key] for one in measured[names[0]]]) for key in ("set", "get", "cpu_us")}
    rows = []
    for name in names:
        runs = measured[name]
        figures = {key: median([one[key] for one in runs]) for key in ("set", "get", "cpu_us")}
        rows.append([name + label] + ["%.0f (%+.1f %%)" % (figures[key], 100 * (figures[key] / best[key] - 1))
                                      for key in ("set", "get")] +
                    ["%.2f (%+.1f %%)" % (figures["cpu_us"], 100 * (figures["cpu_us"] / best["cpu_us"] - 1)),
                     "%.2f" % min(one["cpu_us"] for one in runs),
                     "%d of %d" % (sum(one["lost"] for one in runs), sum(one["events"] for one in runs))
                     if any(one["events"] for one in runs) else "-"])
    return rows


def redis(options):
    if not shutil.which("redis-server"):
        print("LEFT OUT: redis-server is not installed")
        return ""
    rounds = options.rounds or (2 if options.quick else 5)
    requests = 10000 if options.quick else 40000
    kinds = [("nobody", None)] + [(name, lambda pid, words=words: Gyre(pid, words))
                                  for name, words in KINDS]
    rows = redis_rows(redis_rounds(Allocator("gyre", LIBRARY), kinds, rounds, requests))
    jemalloc = runner.find_library("libjemalloc.so.2")
    if shutil.which("bpftrace") and jemalloc and not options.no_peers:
        few = [("nobody", None), ("bpftrace, count", lambda pid: Bpftrace(pid, jemalloc, False)),
               ("bpftrace, ustack", lambda pid: Bpftrace(pid, jemalloc, True))]
        rows += redis_rows(redis_rounds(Allocator("jemalloc", None), few, 1, 2000 if options.quick else 10000),
                           " (jemalloc)")
    if jemalloc and not options.no_peers:
        tracked = redis_heaptrack(2, requests)
        rows += redis_rows(tracked, " (jemalloc)") if tracked else []
    text = table(["redis, -t set,get -c 50 -d 256", "SET/s", "GET/s", "server's CPU us/request", "fastest",
                  "lost"], rows)
    return text + ("\n\n%d rounds of %d requests each, medians; in brackets against nobody attached. Asked: every event at most "
                   "5 %% of the throughput, without loss; sampled under 1 %%.\n" % (rounds, 2 * requests) + MEMLEAK_SAYS)


def main():
    parser = argparse.ArgumentParser(description="what tracing costs the traced")
    parser.add_argument("--rounds", type=int, default=0)
    parser.add_argument("--quick", action="store_true", default=os.environ.get("QUICK", "") not in ("", "0"))
    parser.add_argument("--only", choices=["mixed", "redis"])
    parser.add_argument("--no-peers", action="store_true", help="without today's ways")
    parser.add_argument("--no-report", action="store_true")
    options = parser.parse_args()
    for name, title, command in (("mixed", "What tracing costs the traced: a mixed workload", mixed),
                                 ("redis", "What tracing costs the traced: redis", redis)):
        if options.only not in (None, name):
            continue
        text = command(options)
        print("\n" + text + "\n", flush=True)
        if text and not (options.quick or options.no_report or options.no_peers):
            runner.report("trace-" + name, title, "make bench-trace", text)


if __name__ == "__main__":
    sys.exit(main())
