"""cli.py - what the tests of the command share (tests/cli/*.test, tests/trace/*.test).

Results are printed as the driver wants them (tests/run): `ok - NAME`, `not ok - NAME: WHY`,
`skip - NAME: WHY`. Programs under test are started through Service, which talks to them by lines: a
command in, `done ...` back, so that a test knows what has happened before it looks.
"""
import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

SRC = os.environ.get("GYRE_SRC") or os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
BUILD = os.environ.get("GYRE_BUILD") or os.path.join(SRC, "build")
GYRE = os.environ.get("GYRE") or os.path.join(BUILD, "gyre")
LIB = os.environ.get("GYRE_LIB") or os.path.join(BUILD, "libgyre.so")
TMP = os.environ.get("TMPDIR") or tempfile.mkdtemp()
PROBES = ["alloc_sample", "free_sample", "cache_refill", "cache_flush", "large_alloc", "large_free",
          "span_take", "span_give", "heap_grow", "heap_release", "oom", "misuse"]
GC_PROBES = ["gc_cycle_begin", "gc_phase", "gc_pause_begin", "gc_pause_end", "gc_assist", "gc_pace",
             "gc_finalise", "gc_cycle_end", "barrier_flush"]
HEAP_PROBES = PROBES
SYNC_PROBES = ["chan_send", "chan_recv", "chan_block", "mutex_contended", "pool_get", "pool_put",
               "pool_miss"]
EVENT_PROBES = ["events", "events_on", "events_stacks", "events_clock"]
PROBES = HEAP_PROBES + EVENT_PROBES + GC_PROBES + SYNC_PROBES
failures = 0


def ok(name):
    print("ok - " + name, flush=True)


def not_ok(name, why):
    global failures
    failures += 1
    print("not ok - %s: %s" % (name, " ".join(str(why).split())[:300]), flush=True)


def skip(name, why):
    print("skip - %s: %s" % (name, why), flush=True)


def memory_cgroup(limit):
    """The folder of a new cgroup of so many bytes, v1 or v2, gone at the end; None where there may be none."""
    for root, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max"),
                       ("/sys/fs/cgroup/unified", "memory.max")):
        folder = os.path.join(root, "gyre-test-%d" % os.getpid())
        try:
            os.mkdir(folder)
        except OSError:
            continue
        try:
            with open(os.path.join(folder, name), "w") as file:
                file.write(str(limit))
            atexit.register(_remove_cgroup, folder)
            return folder
        except OSError:
            os.rmdir(folder)
    return None


def _remove_cgroup(folder):
    for _ in range(100):
        try:
            os.rmdir(folder)
            return
        except OSError: # somebody is still in it
            time.sleep(0.05)


def check(name, condition, why="not so"):
    if condition:
        ok(name)
    else:
        not_ok(name, why)
    return bool(condition)


def same(name, got, wanted):
    return check(name, got == wanted, "got %r, wanted %r" % (got, wanted))


def finish():
    sys.exit(1 if failures else 0)


def run(*words, timeout=60, before=(), **keywords):
    """gyre with these words: (status, stdout, stderr)."""
    done = subprocess.run([*before, GYRE, *map(str, words)], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, **keywords)
    return done.returncode, done.stdout, done.stderr


def run_json(*words, **keywords):
    status, out, err = run("-j", *words, **keywords)
    try:
        return status, json.loads(out)
    except ValueError:
        return status, {"error": "no JSON: %r, stderr %r" % (out[:200], err[:200])}


def need_tracing(name):
    """Ends the test as skipped where the machine, or our rights, do not allow to attach."""
    status, found = run_json("feature", "probe")
    lacks = [key for key in ("bpf_programs", "uprobes", "usdt_semaphores", "btf", "ringbuf")
             if not found.get("tracing", {}).get(key)]
    if not found.get("rights", {}).get("trace_own"):
        lacks.append("CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN")
    if status == 0 and lacks:
        skip(name, "tracing needs %s, not available here" % ", ".join(lacks))
        sys.exit(0)


def wait_for(seconds, condition):
    """Until it holds; `seconds` are a quiet machine's, which not every machine is."""
    end = time.monotonic() + 6 * seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


class Service:
    """A program that reads commands on stdin and answers each by a line."""
    all = []

    def __init__(self, *command, options=None, preload=False, before=(), **environment):
        env = dict(os.environ)
        env.pop("LD_PRELOAD", None)
        env.pop("GYRE_OPTIONS", None)
        if options:
            env["GYRE_OPTIONS"] = options
        if preload:
            env["LD_PRELOAD"] = LIB
        env.update(environment)
        self.process = subprocess.Popen([*before, *command], env=env, text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self.process.pid
        Service.all.append(self)
        self.greeting = self.process.stdout.readline().split()
        if self.greeting[:1] == ["ready"] and len(self.greeting) > 1:
            self.pid = int(self.greeting[1])

    def do(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    def alive(self):
        return self.process.poll() is None

    def end(self):
        if self.alive():
            try:
                self.process.stdin.close()
                self.process.wait(5)
            except (OSError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait()
        return self.process.returncode


class Trace:
    """A trace in the background; begun when the constructor returns. What it prints is read as it
    comes, unless read is False: then the command stands still when the pipe is full."""

    def __init__(self, *words, json_mode=True, before=(), read=True):
        self.json_mode = json_mode
        self.process = subprocess.Popen([*before, GYRE, *(["-j"] if json_mode else []), *map(str, words)],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        Service.all.append(self)
        self.head = b""
        mark = b'"events":[' if json_mode else b"Tracing"
        stream = self.process.stdout if json_mode else self.process.stderr
        while mark not in self.head:
            part = os.read(stream.fileno(), 65536)
            if not part:
                break
            self.head += part
        self.parts = []
        self.thread = threading.Thread(target=self.drain, daemon=True)
        if read:
            self.thread.start()

    def drain(self):
        while part := os.read(self.process.stdout.fileno(), 65536):
            self.parts.append(part)

    def stop(self, number=signal.SIGINT, timeout=60):
        """End it: (status, document or text)."""
        if number and self.process.poll() is None:
            self.process.send_signal(number)
        if not self.thread.ident:
            self.thread.start()
        self.thread.join(timeout)
        self.stderr = self.process.stderr.read().decode()
        self.process.wait(timeout)
        self.process.stdout.close()
        self.process.stderr.close()
        out = b"".join(self.parts)
        if not self.json_mode:
            return self.process.returncode, out.decode()
        text = (self.head + out).decode()
        try:
            return self.process.returncode, json.loads(text)
        except ValueError:
            return self.process.returncode, {"error": "no JSON: %r %r" % (text[-300:], self.stderr)}

    def alive(self):
        return self.process.poll() is None

    def end(self):
        if self.alive():
            self.process.kill()
            self.process.wait()


def semaphores(pid):
    """Raised semaphores by probe name."""
    status, probes = run_json("probe", "list", "pid", pid)
    if status:
        return {"error": probes}
    return {probe["name"]: probe["watchers"] for probe in probes}


def all_lowered(pid):
    return {name: count for name, count in semaphores(pid).items() if count != 0} == {}


def books_close(document, shipped):
    """Every event that was announced is accounted for, and the library announced all it recorded."""
    books = document.get("books", {})
    if not books:
        return False
    lost = books["lost_ring"] + books["lost_unread"] + books["lost_crowded"]
    arrived = books["received"] if shipped else document["event_count"]
    return (books["announced"] == arrived + books["filtered"] + lost and
            books["recorded"] in (None, books["announced"]) and books["repeated"] == 0 and
            books["missing"] <= lost + books["lost_library"])


@atexit.register
def clean():
    for service in Service.all:
        try:
            service.end()
        except OSError:
            pass
