#!/usr/bin/env python3
"""Uploads every file below a folder of malformed and hostile images, asks for renditions of those that are accepted, and
sends each file to /process.

Every answer must have one of the expected statuses, the server must live, and its memory (with that of its render
workers) must not grow without bound. What follows `--` goes to the server.
"""

import http.client
import time
from collections import Counter
from pathlib import Path

from lib_server import Server, arguments, ask, finish, folder, table, upload

UPLOAD = {200, 201, 400, 413, 415, 503}
RENDER = {200, 400, 413, 415, 422, 503}
RENDITIONS = (".png?w=64", ".webp")
PROCESS = ("/process.png?w=64", "/process.jpg")
OCTETS = {"Content-Type": "application/octet-stream"}


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--folder", default="../shared/corpus/hostile", help="the files")
    parser.add_argument("--slowest", type=int, default=10, help="how many of the slowest answers to print")
    parser.add_argument("--answer-s-max", type=float, default=30, help="an answer slower than this is a violation")
    parser.add_argument("--rss-growth-mib-max", type=int, default=512, help="growth of resident memory after the run")
    parser.add_argument("extra", nargs="*", help="flags of the server, after --")
    options = parser.parse_args()
    files = sorted(path for path in Path(options.folder).rglob("*") if path.is_file())
    if not files:
        finish([f"no files below {options.folder}"])
    with folder() as root, Server(options.binary, f"{root}/data", *options.extra, log=f"{root}/log") as server:
        run = Run(server, options)
        before = server.memory_of_all()
        for file in files:
            run.file(file)
            run.peak = max(run.peak, server.memory_of_all())
            if not server.alive():
                run.violations.append(f"the server died at {file}{server.last_words()}")
                break
        if server.alive():
            report_memory(server, before, run.peak, options, run.violations)
    report(run, len(files), options)
    finish(run.violations)


class Run:
    def __init__(self, server, options):
        self.server, self.options = server, options
        self.connection = server.connect()
        self.statuses, self.times, self.violations = Counter(), [], []
        self.peak = 0

    def file(self, file):
        body = file.read_bytes()
        for path in PROCESS:
            self.timed(file.name, path, RENDER, lambda: ask(self.connection, "POST", path, body, OCTETS))
        answer = self.timed(file.name, "upload", UPLOAD, lambda: upload(self.connection, body))
        if answer is None or answer[1] is None:
            return
        for rendition in RENDITIONS:
            path = f"/images/{answer[1]}{rendition}"
            self.timed(file.name, rendition, RENDER, lambda: ask(self.connection, "GET", path))

    def timed(self, name, what, expected, call):
        began = time.monotonic()
        try:
            answer = call()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.connection.close()
            self.violations.append(f"{name} {what}: no answer: {error!r}")
            return None
        seconds = time.monotonic() - began
        self.statuses[what, answer[0]] += 1
        self.times.append((seconds, name, what, answer[0]))
        if answer[0] not in expected:
            self.violations.append(f"{name} {what}: {answer[0]} {answer[2][:300] if len(answer) > 2 else ''}")
        if seconds > self.options.answer_s_max:
            self.violations.append(f"{name} {what}: {seconds:.1f} s")
        return answer


def report_memory(server, before, peak, options, violations):
    after = server.memory_of_all()
    mib = 1 << 20
    print(f"resident memory, workers included: {before // mib} MiB before, {after // mib} after, at most {peak // mib} after a file")
    if after - before > options.rss_growth_mib_max * mib:
        violations.append(f"resident memory grew by {(after - before) // mib} MiB")
    status, _, _ = server.request("GET", "/healthz")
    if status != 200:
        violations.append(f"/healthz answers {status} afterwards")


def report(run, files, options):
    print(f"{files} files")
    table([(what, status, count) for (what, status), count in sorted(run.statuses.items())], ("asked", "status", "times"))
    slowest = sorted(run.times, reverse=True)[: options.slowest]
    table([(name, what, status, f"{1000 * s:.0f}") for s, name, what, status in slowest], ("slowest", "asked", "status", "ms"))


if __name__ == "__main__":
    main()
