#!/usr/bin/env python3
"""Durable uploads a second: one tar on one connection against one PUT at a time on one connection, interleaved A B B A.

Images are PNG files of noise, each with bytes of its own, so that nothing is a duplicate. The tar is written by Python's own tarfile
before the clock starts: on few processors it would compete with the server. Its answer is read while it is sent. Syncs are
counted by the server at /metrics.
"""

import io
import json
import socket
import statistics
import sys
import tarfile
import threading
import time
from pathlib import Path

from lib_server import Server, arguments, ask, finish, folder, labelled, noise_png, table

SIDE_PX = 58  # about 10 KB
RATIO_MIN = 10
SYNCS = ("progimage_store_fdatasync_total", "progimage_store_fsync_total", "progimage_store_syncfs_total")
STORED = "progimage_store_published_total"


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="images of one tar")
    parser.add_argument("--puts", type=int, default=1_000, help="images of one round of PUT")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of A B B A")
    parser.add_argument("--json", default="target/bulk_upload.json", help="where the figures are written")
    parser.add_argument("--report-only", action="store_true", help="the bound is printed, not enforced")
    parser.add_argument("server", nargs="*", help="more arguments of the server, after --: --syncfs-batch-min=32")
    options = parser.parse_args()
    rows, ratios = [], []
    with folder() as root, Server(options.binary, f"{root}/data", *options.server, log=f"{root}/log") as server:
        images = Images()
        for number in range(options.rounds):
            order = (one_by_one, as_tar, as_tar, one_by_one)
            measured = [(way, measure(server, way, images, options)) for way in order]
            rates = {way: statistics.mean(rate for other, (rate, _) in measured if other is way) for way in order}
            ratios.append(rates[as_tar] / rates[one_by_one])
            for way, (rate, syncs) in measured:
                rows.append((way.__name__, number, f"{rate:.0f}", f"{syncs:.2f}"))
    table(rows, ("way", "round", "images/s", "syncs an image"))
    ratio = statistics.median(ratios)
    print(f"tar against PUT: {ratio:.1f}x (median of {len(ratios)}; goal {RATIO_MIN}x)")
    Path(options.json).parent.mkdir(parents=True, exist_ok=True)
    Path(options.json).write_text(json.dumps({"rows": rows, "ratios": ratios}, indent=1))
    bad = [f"{ratio:.1f}x is less than {RATIO_MIN}x"] if ratio < RATIO_MIN else []
    finish([] if options.report_only else bad)


class Images:
    """Images with new bytes."""

    def __init__(self):
        self.plain, self.made = noise_png(SIDE_PX, SIDE_PX), 0

    def take(self, count):
        self.made += count
        return [labelled(self.plain, f"{number:012}") for number in range(self.made - count, self.made)]


def measure(server, way, images, options):
    """(images a second, syncs an image)."""
    count = options.count if way is as_tar else options.puts
    batch = images.take(count)
    upload, before = (archive(batch) if way is as_tar else batch), figures(server)
    started = time.perf_counter()
    way(server, upload)
    elapsed = time.perf_counter() - started
    after = figures(server)
    stored = after[STORED] - before[STORED]
    if stored != count:
        sys.exit(f"{stored} of {count} images were stored")
    return count / elapsed, sum(after[name] - before[name] for name in SYNCS) / count


def figures(server):
    _, _, page = server.request("GET", "/metrics")
    lines = (line.rsplit(" ", 1) for line in page.decode().splitlines() if line.startswith("progimage_store_"))
    return {name: float(figure) for name, figure in lines}


def one_by_one(server, batch):
    # PUT needs the id first, and the standard library has no BLAKE3. POST of a raw body is the same work.
    connection = server.connect()
    for image in batch:
        status, _, answer = ask(connection, "POST", "/images", image)
        if status != 201:
            sys.exit(f"an upload was answered {status}: {answer}")
    connection.close()


def as_tar(server, archive):
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as connection:
        connection.sendall(b"POST /images HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-tar\r\n"
                           b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(archive))
        sender = threading.Thread(target=connection.sendall, args=(archive,))
        sender.start()
        answer = b"".join(iter(lambda: connection.recv(1 << 20), b""))
        sender.join()
    last = json.loads(answer[answer.rindex(b'{"done"'):].split(b"\n")[0])
    if not last["done"] or last["failed"]:
        sys.exit(f"the tar ended with {last}")


def archive(batch):
    """The bytes of a tar."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for number, image in enumerate(batch):
            entry = tarfile.TarInfo(f"{number}.png")
            entry.size = len(image)
            archive.addfile(entry, io.BytesIO(image))
    return whole.getbuffer()


if __name__ == "__main__":
    main()
