#!/usr/bin/env python3
"""What render workers cost: renders and hits with `isolate` on and off, interleaved, and memory a worker.

Two servers on loopback, one with workers and one without, take turns. For each kind of result it prints

- processor time of the server and of its worker, from the clock of each process: in nanoseconds, threads that ended included.
  The ratio is that of a round, where both servers made the same results one after the other; its median and middle half;
- page faults without a read (minflt) and switches that a thread asked for, a render;
- with --strace, system calls a render, in rounds of their own, since strace slows both.

Counts travel to other machines and to busy ones, times do not. Python's standard library only.
"""

import argparse
import atexit
import http.client
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

PHOTOS = ["toy.jpg", "street.jpg"]
CASES = ["jpg", "webp", "png", "hit"]
RENDERS = 20
HITS = 2000
TRACED = 10
# Of proc_pid_stat(5), from the state after the name, which is field 3: minflt, and cutime and cstime of ended children.
MINFLT, CUTIME, CSTIME = 10 - 3, 16 - 3, 17 - 3
TICK = os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", help="a release build of progimage")
    parser.add_argument("rounds", nargs="?", type=int, default=10, help="rounds of every kind of result")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES, help="kinds of results")
    parser.add_argument("--strace", action="store_true", help="also count system calls")
    options = parser.parse_args()
    if options.strace and not shutil.which("strace"):
        sys.exit("strace is missing: apt-get install -y strace")
    servers = {True: Server(options.binary, "true"), False: Server(options.binary, "false")}
    for server in servers.values():
        atexit.register(server.stop)
    used = {case: {True: [], False: []} for case in options.cases}
    for number in range(-1, options.rounds):
        for case in options.cases:
            for isolated in random.sample([True, False], 2):
                cost = servers[isolated].measured(case, number)
                if number >= 0:  # The first round fills caches and heaps.
                    used[case][isolated].append(cost)
    for case in options.cases:
        report(case, used[case])
    if options.strace:
        for case in options.cases:
            for isolated in (True, False):
                print(f"{case}, workers {'on' if isolated else 'off'}: {servers[isolated].calls(case, options.rounds)}")
    workers = [pss(child) for child in children(servers[True].process.pid)]
    print("PSS a worker, MiB:", ", ".join(f"{one:.1f}" for one in workers))


def report(case, used):
    unit, scale = ("us", 1e6) if case == "hit" else ("ms", 1e3)
    on, off = ([statistics.median(column) for column in zip(*used[isolated])] for isolated in (True, False))
    pairs = sorted(a[0] / b[0] - 1 for a, b in zip(used[True], used[False]))
    low, _, high = statistics.quantiles(pairs, n=4) if len(pairs) > 1 else pairs * 3
    print(f"{case}: on {on[0] * scale:.3f} {unit}, off {off[0] * scale:.3f} {unit}, "
          f"{statistics.median(pairs) * 100:+.1f} % (middle half {low * 100:+.1f} to {high * 100:+.1f}); "
          f"page faults {on[1]:.1f} and {off[1]:.1f}, switches {on[2]:.1f} and {off[2]:.1f}")


def children(pid):
    found = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/children") as file:
            found += [int(word) for word in file.read().split()]
    return found


def counters(pid):
    """Seconds of processor time, page faults and voluntary switches of a process and of its workers."""
    seconds = faults = switches = 0
    for one in [pid] + children(pid):
        # The clock of another process: clock_getcpuclockid(3).
        seconds += time.clock_gettime((~one << 3) | 2)
        with open(f"/proc/{one}/stat") as file:
            values = file.read().rsplit(") ", 1)[1].split(" ")
        seconds += (int(values[CUTIME]) + int(values[CSTIME])) / TICK
        faults += int(values[MINFLT])
        for thread in os.listdir(f"/proc/{one}/task"):
            with open(f"/proc/{one}/task/{thread}/status") as file:
                switches += int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", file.read(), re.MULTILINE)[1])
    return seconds, faults, switches


def pss(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024


class Server:
    def __init__(self, binary, isolate):
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [binary, "serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--data", self.folder.name,
             f"--isolate={isolate}", "--render-threads", "1", "--rendition-tier-bytes-max", "0",
             "--render-timeout-ms", "600000"],
            stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            address = json.loads(line)["fields"].get("address")
            if address:
                break
        self.connection = http.client.HTTPConnection(address)
        self.ids = []
        for photo in PHOTOS:
            with open(os.path.join(os.path.dirname(__file__) or ".", "..", "fixtures/photos", photo), "rb") as file:
                self.ids.append(json.loads(self.send("POST", "/images", file.read()))["id"])

    def send(self, method, path, body=None):
        self.connection.request(method, path, body)
        answer = self.connection.getresponse()
        read = answer.read()
        assert answer.status in (200, 201), (path, answer.status, read)
        return read

    def work(self, case, number, count):
        for step in range(count):
            image = self.ids[step % len(self.ids)]
            if case == "hit":
                self.send("GET", f"/images/{self.ids[0]}.jpg?w=512")
            else:
                # 512 px wide: the crop differs by a pixel, so that none is a hit.
                self.send("GET", f"/images/{image}.{case}?crop=0,0,{900 + number},{700 + step}&w=512")

    def measured(self, case, number):
        """Seconds, page faults and switches, a result."""
        count = HITS if case == "hit" else RENDERS
        self.work(case, number, 1 if case == "hit" else 0)
        time.sleep(0.05)  # A worker puts itself in order after the answer.
        before = counters(self.process.pid)
        self.work(case, number, count)
        time.sleep(0.05)
        return [(now - then) / count for now, then in zip(counters(self.process.pid), before)]

    def calls(self, case, number):
        """System calls a result."""
        report = os.path.join(self.folder.name, "strace")
        pids = [self.process.pid] + children(self.process.pid)
        tracer = subprocess.Popen(["strace", "-f", "-c", "-o", report] + [f"-p{pid}" for pid in pids],
                                  stderr=subprocess.PIPE, text=True)
        for _ in pids:
            tracer.stderr.readline()  # "Process ... attached", with all threads.
        self.work(case, number, TRACED)
        time.sleep(0.2)
        tracer.send_signal(signal.SIGINT)
        tracer.communicate(timeout=20)
        with open(report) as file:
            rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", file.read(), re.MULTILINE)
        found = sorted(((int(count) / TRACED, name) for count, name in rows if name != "total"), reverse=True)
        return f"{sum(count for count, _ in found):.1f} calls (" + ", ".join(f"{name} {count:.1f}" for count, name in found) + ")"

    def stop(self):
        self.process.terminate()
        self.process.wait()


if __name__ == "__main__":
    main()
