#!/usr/bin/env python3
"""What the worst input costs: seconds a megapixel of each format at each effort, and the pixels that fit into a render.

Usage: python3 benches/effort.py target/release/progimage [--side PX] [--format EXT ...]

Noise at quality 100 and chroma 4:4:4, lossy and lossless, written by `progimage render`, which has no deadline. Processor time
without that of the same render as BMP. The last column is what fits into the default `render_timeout_ms`, in megapixels.
Other programs slow it: run it on an idle machine. Python's standard library only.
"""

import argparse
import os
import random
import subprocess
import tempfile

RENDER_TIMEOUT_S = 10
LOSSY = "quality=100&chroma=444"
CASES = {
    "jpg": [LOSSY],
    "webp": [LOSSY, "lossless=true"],
    "avif": [LOSSY, "lossless=true"],
    "png": [""],
}


def noise(path, side):
    with open(path, "wb") as file:
        file.write(f"P6 {side} {side} 255\n".encode() + random.Random(1).randbytes(3 * side * side))


def seconds(binary, source, extension, query):
    """Processor time of one render."""
    target = f"{source}.{extension}"
    process = subprocess.Popen([binary, "render", source, target, query])
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, (extension, query)
    os.remove(target)
    return used.ru_utime + used.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--side", type=int, default=1000, help="side of the noise in pixels")
    parser.add_argument("--format", nargs="+", choices=CASES, default=list(CASES))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "noise.ppm")
        noise(source, arguments.side)
        megapixels = arguments.side**2 / 1e6
        plain = min(seconds(arguments.binary, source, "bmp", "") for _ in range(3))
        print("format  effort  query                    s/MP   MP in 10 s")
        for extension in arguments.format:
            for query in CASES[extension]:
                for effort in range(10):
                    used = seconds(arguments.binary, source, extension, f"effort={effort}&{query}".rstrip("&"))
                    each = max(used - plain, 0.001) / megapixels
                    print(f"{extension:6}  {effort:6}  {query:22}  {each:7.2f}  {RENDER_TIMEOUT_S / each:9.1f}", flush=True)


if __name__ == "__main__":
    main()
