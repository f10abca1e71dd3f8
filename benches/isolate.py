#!/usr/bin/env python3
"""What render workers cost: processor time a render and a hit with isolate on and off, interleaved, and memory a worker.

Usage: python3 benches/isolate.py target/release/progimage [rounds]

Two servers on loopback, one with workers and one without, take turns. Processor time is that of the server and of all its
workers: utime and stime of /proc/PID/stat, with cutime and cstime for workers that have ended. Python's standard library only.
"""

import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile

PHOTOS = ["toy.jpg", "street.jpg"]
RENDERS = 40
HITS = 4000
TICK = os.sysconf("SC_CLK_TCK")


def children(pid):
    found = []
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/children") as file:
            found += [int(word) for word in file.read().split()]
    return found


def seconds(pid):
    total = 0
    for one, fields in [(pid, (11, 12, 13, 14))] + [(child, (11, 12)) for child in children(pid)]:
        with open(f"/proc/{one}/stat") as file:
            values = file.read().rsplit(") ", 1)[1].split(" ")
        total += sum(int(values[field]) for field in fields)
    return total / TICK


def pss(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:")) / 1024


class Server:
    def __init__(self, binary, isolate):
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [binary, "serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--data", self.folder.name,
             f"--isolate={isolate}", "--render-threads", "1", "--rendition-tier-bytes-max", "0"],
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

    def cpu(self, work):
        before = seconds(self.process.pid)
        work()
        return seconds(self.process.pid) - before

    def renders(self, extension, first):
        for number in range(RENDERS):
            image = self.ids[number % len(self.ids)]
            # 512 px wide: the crop differs by a pixel, so that none is a hit.
            self.send("GET", f"/images/{image}.{extension}?crop=0,0,{900 + first},{700 + number}&w=512")

    def hits(self, path):
        for _ in range(HITS):
            self.send("GET", path)

    def stop(self):
        self.process.terminate()
        self.process.wait()


def main():
    binary, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10
    servers = {True: Server(binary, "true"), False: Server(binary, "false")}
    cases = ["jpg", "webp", "png", "hit"]
    used = {case: {True: [], False: []} for case in cases}
    for number in range(rounds):
        for case in cases:
            order = [True, False]
            random.shuffle(order)
            for isolated in order:
                server = servers[isolated]
                if case == "hit":
                    path = f"/images/{server.ids[0]}.jpg?w=512"
                    server.send("GET", path)
                    used[case][isolated].append(server.cpu(lambda: server.hits(path)) / HITS * 1e6)
                else:
                    used[case][isolated].append(server.cpu(lambda: server.renders(case, number)) / RENDERS * 1e3)
    for case in cases:
        on, off = (statistics.median(used[case][isolated]) for isolated in (True, False))
        unit = "us" if case == "hit" else "ms"
        pairs = [a / b - 1 for a, b in zip(used[case][True], used[case][False])]
        print(f"{case}: on {on:.2f} {unit}, off {off:.2f} {unit}, {statistics.median(pairs) * 100:+.1f} %")
    workers = [pss(child) for child in children(servers[True].process.pid)]
    print("PSS a worker, MiB:", ", ".join(f"{one:.1f}" for one in workers))
    for server in servers.values():
        server.stop()


if __name__ == "__main__":
    main()
