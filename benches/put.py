#!/usr/bin/env python3
"""Uploads a folder with `progimage put` twice: all of it, then nothing, because the server has it.

The second run hashes every file and asks the server; it must be many times faster than the first, which also sends and stores."""

import subprocess
import sys
import time
from pathlib import Path

from lib_server import Server, arguments, finish, folder, labelled, noise_png, table

# About 100 KB.
SIDE_PX = 182
FASTER_MIN = 20


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="files")
    parser.add_argument("--jobs", type=int, default=16, help="uploads at once")
    options = parser.parse_args()
    violations = []
    with folder() as root:
        bytes_all = fill(Path(root) / "files", options.count)
        with Server(options.binary, f"{root}/data", log=f"{root}/log") as server:
            runs = [(name, *put(server, options, f"{root}/files")) for name in ("first", "again", "once more")]
    print(f"{options.count} files, {bytes_all / 1e6:.0f} MB")
    table([(name, f"{s:.2f}", f"{options.count / s:.0f}", f"{bytes_all / s / 1e6:.0f}", f"{mb:.0f}")
           for name, s, _, mb in runs], ("run", "seconds", "files/s", "MB/s", "peak MB"))
    first, again = runs[0][1], min(run[1] for run in runs[1:])
    print(f"again is {first / again:.1f} times faster (at least {FASTER_MIN} wanted)")
    if any(lines != options.count for _, _, lines, _ in runs):
        violations.append("not every file was reported")
    if first / again < FASTER_MIN:
        violations.append(f"only {first / again:.1f} times faster")
    finish(violations)


def fill(root, count):
    """Files of different bytes; their size in all."""
    root.mkdir()
    picture = noise_png(SIDE_PX, SIDE_PX)
    return sum((root / f"{n:06}.png").write_bytes(labelled(picture, str(n))) for n in range(count))


def put(server, options, files):
    """(seconds, lines printed, peak memory in MB) of one run."""
    command = [server.binary, "put", "-r", files, "--server", f"http://127.0.0.1:{server.port}", "--jobs", str(options.jobs)]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
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
