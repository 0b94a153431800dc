#!/usr/bin/env python3
"""run_kv.py - the cache server of tests/examples/kv beside redis-server, one processor each.

Server on processor 0, redis-benchmark on the last one, interleaved, a fresh server for each round:
-t set,get -c 50 -d 256 -P 16 over a million keys, so that the table grows to some 500 MiB. kv has one
serving thread and its collector on that same processor. Told is the median over the rounds of requests
a second, and the worst round's p99.9 and longest wait of a batch of 16. `gyre gc trace` is attached to kv
in the rounds named kv+trace. In a virtual machine the host may keep a processor from us for longer than any
stall of the server's own: how much of the time it did, in the worst round, stands in the column "stolen".
Writes its section of RESULTS.md, unless QUICK=1.
"""
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import runner  # noqa: E402

BUILD = os.environ.get("GYRE_BUILD") or os.path.join(runner.SRC, "build")
QUICK = bool(os.environ.get("QUICK"))
ROUNDS = int(os.environ.get("ROUNDS") or (1 if QUICK else 5))
REQUESTS = 200_000 if QUICK else 1_000_000
KEYS = 1_300_000
SYSTEMS = ["kv", "redis", "kv+trace"]
LAST = os.cpu_count() - 1


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ticks():
    """(stolen, all) of all processors."""
    with open("/proc/stat") as file:
        fields = [int(word) for word in file.readline().split()[1:9]]
    return fields[7], sum(fields)


def start(system, port):
    if system == "redis":
        words = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no", "--daemonize", "no"]
    else:
        words = [os.path.join(BUILD, "tests/examples/kv/kv"), "--port", str(port), "--threads", "1",
                 "--memory", "1G"]
    server = subprocess.Popen(["taskset", "-c", "0", *words], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return server
        except OSError:
            time.sleep(0.05)
    raise SystemExit("run_kv: %s does not answer" % system)


def benchmark(port, test, requests):
    out = subprocess.run(["taskset", "-c", str(LAST), "redis-benchmark", "-p", str(port), "-t", test, "-n",
                          str(requests), "-r", str(KEYS), "-c", "50", "-d", "256", "-P", "16",
                          "--precision", "3"], capture_output=True, text=True, check=True).stdout
    lines = out.replace("\r", "\n").split("\n")
    rate = [float(line.split()[2]) for line in lines if "throughput summary" in line][0]
    shares = re.findall(r"([0-9.]+)% <= ([0-9.]+) milliseconds", out)
    p999 = min(float(ms) for share, ms in shares if float(share) >= 99.9)
    return rate, p999, max(float(ms) for _, ms in shares)


def one_round(system, scratch):
    port, trace = free_port(), None
    server = start(system, port)
    try:
        benchmark(port, "set", REQUESTS * 2) # fills the table
        if system == "kv+trace":
            trace = subprocess.Popen([os.path.join(BUILD, "gyre"), "gc", "trace", "pid", str(server.pid)],
                                     stdout=open(os.path.join(scratch, "cycles"), "w"),
                                     stderr=subprocess.DEVNULL)
            time.sleep(0.5)
        before = ticks()
        got = {test: benchmark(port, test, REQUESTS) for test in ("set", "get")}
        stolen = [after - then for after, then in zip(ticks(), before)]
        with open("/proc/%d/status" % server.pid) as status:
            rss = [int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS")][0]
    finally:
        if trace:
            trace.terminate()
            trace.wait()
        server.terminate()
        server.wait()
    return got, rss, stolen[0] / max(stolen[1], 1)


def main():
    rounds = {system: [] for system in SYSTEMS}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(ROUNDS):
            for system in SYSTEMS[number % 3:] + SYSTEMS[:number % 3]:
                rounds[system].append(one_round(system, scratch))
                print("round %d, %s" % (number + 1, system), file=sys.stderr)
        cycles = ""
        with open(os.path.join(scratch, "cycles")) as file:
            cycles = "".join(file.readlines()[-6:])
    rows = ["| | set/s | to redis | p99.9 ms | longest ms | get/s | to redis | p99.9 ms | longest ms | RSS MiB | stolen |",
            "|---|---|---|---|---|---|---|---|---|---|---|"]
    middle = {(system, test): statistics.median(got[test][0] for got, _, _ in rounds[system])
              for system in SYSTEMS for test in ("set", "get")}
    for system in SYSTEMS:
        cells = [system]
        for test in ("set", "get"):
            cells += ["%.0f" % middle[system, test],
                      "%.2f" % (middle[system, test] / middle["redis", test]),
                      "%.2f" % max(got[test][1] for got, _, _ in rounds[system]),
                      "%.2f" % max(got[test][2] for got, _, _ in rounds[system])]
        cells.append("%.0f" % statistics.median(rss for _, rss, _ in rounds[system]))
        cells.append("%.0f %%" % (100 * max(stolen for _, _, stolen in rounds[system])))
        rows.append("| " + " | ".join(cells) + " |")
    text = "\n".join(rows) + "\n\nThe end of `gyre gc trace` beside the last such round:\n\n" + \
        "".join("    " + line + "\n" for line in cycles.splitlines())
    print(text)
    if not QUICK:
        runner.report("kv", "A cache server on collected objects beside redis-server", "make bench-kv", text)


main()
