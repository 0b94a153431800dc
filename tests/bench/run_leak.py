#!/usr/bin/env python3
"""run_leak.py - what `gyre leak scan` in a loop costs a redis-server with a heap of 1 GiB.

One preloaded redis-server, filled once; then rounds of redis-benchmark -t get,set -c 50 -d 256, by turns
with nobody looking, with scans without end, and with scans that may take a quarter of a processor. Told
are the median of requests a second over the rounds, the median p99, the longest wait, the length of a scan,
what it found, and the coverage by huge pages before and after. At the end a module loses 1 MiB in this heap:
how long a scan takes to find it, and whether it counts it exactly. Writes its section of RESULTS.md, unless
QUICK=1.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import runner  # noqa: E402

BUILD = os.environ.get("GYRE_BUILD") or os.path.join(runner.SRC, "build")
GYRE = os.path.join(BUILD, "gyre")
MODULE = os.path.join(BUILD, "tests/leak/redis_leak_lib")
LOST_BLOCKS = 1049 # of 1,000 bytes
QUICK = bool(os.environ.get("QUICK"))
ROUNDS = int(os.environ.get("ROUNDS") or (1 if QUICK else 7))
REQUESTS = 30_000 if QUICK else 100_000
HEAP_MIB = 128 if QUICK else 1024
WAYS = {"nobody": None, "scans": [], "scans, cpu 25": ["cpu", "25"]}


def redis_cli(path, *words):
    return subprocess.run(["redis-cli", "-s", path, *words], capture_output=True, text=True).stdout


def benchmark(path):
    out = subprocess.run(["redis-benchmark", "-s", path, "-t", "set,get", "-n", str(REQUESTS), "-c", "50", "-d",
                          "256", "-r", "1000000", "--csv"], capture_output=True, text=True, check=True).stdout
    rows = [[cell.strip('"') for cell in line.split(",")] for line in out.splitlines() if line.startswith('"')]
    head = rows[0]
    return {row[0].lower(): {name: float(row[head.index(name)]) for name in ("rps", "p99_latency_ms", "max_latency_ms")}
            for row in rows[1:]}


class Scans(threading.Thread):
    """Scans, one after the other, until told to stop."""
    def __init__(self, pid, words):
        super().__init__()
        self.pid, self.words, self.done, self.results = pid, words, False, []

    def run(self):
        while not self.done:
            got = subprocess.run([GYRE, "-j", "leak", "scan", "pid", str(self.pid), *self.words],
                                 capture_output=True, text=True)
            self.results.append(json.loads(got.stdout))


def coverage(pid):
    with open("/proc/%d/smaps_rollup" % pid) as file:
        sizes = {line.split()[0]: int(line.split()[1]) for line in file if line.rstrip().endswith("kB")}
    return sizes["AnonHugePages:"] / max(sizes["Anonymous:"], 1), sizes["Rss:"] // 1024


def find_leak(path, pid):
    """A MiB is lost; what a scan at the default setting says of it, while nobody asks the server for anything."""
    redis_cli(path, "leak", str(LOST_BLOCKS))
    redis_cli(path, "ping")
    began = time.monotonic()
    got = subprocess.run([GYRE, "-j", "leak", "scan", "pid", str(pid)], capture_output=True, text=True)
    found = json.loads(got.stdout)
    return "1 MiB lost in it (%d blocks of 1,000 bytes): %s blocks of %s bytes found in %.1f s, %.1f s of processor time." % (
        LOST_BLOCKS, found.get("lost_blocks"), found.get("lost_bytes"), time.monotonic() - began,
        found.get("cpu_ns", 0) / 1e9)


def main():
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "redis.sock")
        server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", path, "--save", "",
                                   "--appendonly", "no", "--enable-debug-command", "yes", "--loadmodule", MODULE],
                                  env=dict(os.environ, LD_PRELOAD=os.path.join(BUILD, "libgyre.so")),
                                  stdout=subprocess.DEVNULL)
        try:
            while "PONG" not in redis_cli(path, "ping"):
                time.sleep(0.1)
            redis_cli(path, "debug", "populate", str(HEAP_MIB * 1024 * 1024 // 620), "key", "500")
            benchmark(path)
            before = coverage(server.pid)
            rounds, scans = {way: [] for way in WAYS}, {way: [] for way in WAYS}
            for number in range(ROUNDS):
                for way, words in WAYS.items():
                    looker = Scans(server.pid, words) if words is not None else None
                    if looker:
                        looker.start()
                        time.sleep(0.5)
                    rounds[way].append(benchmark(path))
                    if looker:
                        looker.done = True
                        looker.join()
                        scans[way] += looker.results
                print("round %d" % (number + 1), file=sys.stderr)
            after = coverage(server.pid)
            leak = find_leak(path, server.pid)
        finally:
            server.terminate()
            server.wait()
    rows = ["| | set/s | to nobody | p99 ms | longest ms | get/s | to nobody | p99 ms | longest ms | a scan took s | lost |",
            "|---|---|---|---|---|---|---|---|---|---|---|"]

    def middle(way, test, name):
        return statistics.median(got[test][name] for got in rounds[way])
    for way in WAYS:
        cells = [way]
        for test in ("set", "get"):
            cells += ["%.0f" % middle(way, test, "rps"),
                      "%.3f" % (middle(way, test, "rps") / middle("nobody", test, "rps")),
                      "%.2f" % middle(way, test, "p99_latency_ms"),
                      "%.1f" % max(got[test]["max_latency_ms"] for got in rounds[way])]
        good = [scan for scan in scans[way] if "lost_blocks" in scan]
        cells += ["%.1f" % statistics.median(scan["duration_ns"] / 1e9 for scan in good) if good else "",
                  "%d in %d scans" % (sum(scan["lost_blocks"] for scan in good), len(good)) if good else ""]
        rows.append("| " + " | ".join(cells) + " |")
    text = "\n".join(rows) + "\n\nHuge pages hold %.1f %% of the anonymous memory before, %.1f %% after; resident " \
        "%d MiB before, %d MiB after.\n\n" % (before[0] * 100, after[0] * 100, before[1], after[1]) + leak
    print(text)
    if not QUICK:
        runner.report("leak", "Scanning a running redis-server for leaks", "make bench-leak", text)


main()
