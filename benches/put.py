#!/usr/bin/env python3
"""Uploads a folder with `progimage put`: all of it; again, when the server has it and its digests are remembered; and with
`--checksum`, when every file is read and hashed.

Again costs a stat and a look-up per file; it must be many times faster than the first run, which reads, sends and stores."""

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from lib_server import Server, arguments, finish, folder, labelled, noise_png, table

# About 100 KB.
SIDE_PX = 182
FASTER_MIN = 20
# Files that are younger than 2 s when they are hashed are not remembered; plus a margin.
SETTLED_AFTER_S = 2.5


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="files")
    parser.add_argument("--runs", type=int, default=3, help="of each but the first")
    parser.add_argument("--jobs", type=int, default=16, help="uploads at once")
    options = parser.parse_args()
    violations = []
    with folder() as root:
        bytes_all = fill(Path(root) / "files", options.count)
        time.sleep(SETTLED_AFTER_S)
        with Server(options.binary, f"{root}/data", log=f"{root}/log") as server:
            run = lambda *more: put(server, options, root, *more)
            runs = {"first": [run()],
                    "again": [run() for _ in range(options.runs)],
                    "again --checksum": [run("--checksum") for _ in range(options.runs)]}
    print(f"{options.count} files, {bytes_all / 1e6:.0f} MB; medians of {options.runs} runs")
    seconds = {name: statistics.median(s for s, _, _ in of) for name, of in runs.items()}
    table([(name, len(runs[name]), f"{s:.2f}", f"{options.count / s:.0f}", f"{bytes_all / s / 1e6:.0f}",
            f"{max(mb for _, _, mb in runs[name]):.0f}", f"{seconds['first'] / s:.1f}") for name, s in seconds.items()],
          ("run", "runs", "seconds", "files/s", "MB/s", "peak MB", "times faster"))
    faster = seconds["first"] / seconds["again"]
    print(f"again is {faster:.1f} times faster (at least {FASTER_MIN} wanted)")
    if any(lines != options.count for of in runs.values() for _, lines, _ in of):
        violations.append("not every file was reported")
    if faster < FASTER_MIN:
        violations.append(f"only {faster:.1f} times faster")
    finish(violations)


def fill(root, count):
    """Files of different bytes; their size in all."""
    root.mkdir()
    picture = noise_png(SIDE_PX, SIDE_PX)
    return sum((root / f"{n:06}.png").write_bytes(labelled(picture, str(n))) for n in range(count))


def put(server, options, root, *more):
    """(seconds, lines printed, peak memory in MB) of one run."""
    url = f"http://127.0.0.1:{server.port}"
    command = [server.binary, "put", "-r", f"{root}/files", "--server", url, "--jobs", str(options.jobs), *more]
    # Not in the home of the user.
    environment = {**os.environ, "XDG_CACHE_HOME": f"{root}/cache"}
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    lines, peak = 0, 0
    for _ in process.stdout:
        lines += 1
        if lines % 500 == 1:
            peak = max(peak, memory(process.pid))
    if process.wait() != 0:
        sys.exit(f"progimage put ended with status {process.returncode}")
    return time.monotonic() - started, lines, peak


def memory(pid):
    """Peak resident MB; 0 when the process has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmHWM")), 0)


if __name__ == "__main__":
    main()
