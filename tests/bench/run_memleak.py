#!/usr/bin/env python3
"""run_memleak.py - `gyre leak scan` beside bcc's memleak, on the same leak (leaking.c).

	BCC_KERNEL_SOURCE=HEADERS tests/bench/run_memleak.py

Prints blocks replaced a second, alone and watched, and when each told of the leak, and of how much. memleak compiles
its program at each start, which takes kernel headers; where the running kernel has none, those of another will do, for
it looks at no structure of the kernel's (RESULTS.md). Takes 40 s and root.
"""
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("GYRE_BUILD") or os.path.join(HERE, "../../build")
GYRE = os.path.join(BUILD, "gyre")


def start(library):
    environment = dict(os.environ)
    environment.pop("LD_PRELOAD", None)
    if library:
        environment["LD_PRELOAD"] = library
    process = subprocess.Popen([os.path.join(BUILD, "tests/bench/leaking")], env=environment, stdout=subprocess.PIPE,
                               text=True, bufsize=1)
    process.stdout.readline()
    process.rates = []
    threading.Thread(target=lambda: process.rates.extend((time.monotonic(), int(line)) for line in process.stdout),
                     daemon=True).start()
    time.sleep(1)
    return process


def rate(process, seconds):
    """Blocks a second: the median of whole seconds from now on."""
    begin = time.monotonic()
    time.sleep(seconds)
    return statistics.median(number for at, number in list(process.rates) if at > begin + 1.05)


def memleak():
    process = start(None)
    alone = rate(process, 6)
    began, told = time.monotonic(), []
    tool = subprocess.Popen(["memleak-bpfcc", "-p", str(process.pid), "-T", "3", "1"], text=True, bufsize=1,
                            env=dict(os.environ, PYTHONUNBUFFERED="1"), stdout=subprocess.PIPE)

    def read():
        sums = ""
        for line in tool.stdout:
            if "allocations from stack" in line:
                sums = line.strip()
            elif "forgetful" in line:
                told.append((time.monotonic() - began, sums))
    threading.Thread(target=read, daemon=True).start()
    time.sleep(7)
    watched = rate(process, 8)
    tool.send_signal(signal.SIGINT)
    time.sleep(1)
    tool.kill()
    process.kill()
    print("memleak: %d a second alone, %d watched (%+.1f %%)" % (alone, watched, (watched / alone - 1) * 100))
    print("memleak: first told after %.1f s: %s" % told[0] if told else "memleak: told of nothing")


def scans():
    process = start(os.path.join(BUILD, "libgyre.so"))
    alone = rate(process, 6)
    found, done = [], threading.Event()

    def scan():
        while not done.is_set():
            began = time.monotonic()
            got = subprocess.run([GYRE, "-j", "leak", "scan", "pid", str(process.pid)], stdout=subprocess.PIPE)
            found.append((time.monotonic() - began, json.loads(got.stdout)))
    thread = threading.Thread(target=scan)
    thread.start()
    watched = rate(process, 8)
    done.set()
    thread.join()
    process.kill()
    print("scans: %d a second alone, %d watched (%+.1f %%)" % (alone, watched, (watched / alone - 1) * 100))
    for seconds, result in found:
        print("scans: told after %.1f s: %s blocks, certain: %s" % (seconds, result.get("lost_blocks"),
                                                                  result.get("certain")))


if __name__ == "__main__":
    memleak()
    scans()
    sys.exit(0)
