#!/usr/bin/env python3
"""POST /bulk: throughput against the bare pipeline, memory over many items, and the latency of single requests meanwhile.

Throughput: thumbnails (JPEG to 300 px WebP of the photographs in fixtures/photos) on all processors, against `benches/bulk.rs`, interleaved
A B B A. The bound is for the median of the ratios. Memory: the peak after many small items against that after 10,000. Single requests: the
99th percentile of cached hits and of misses while a bulk request runs, against the same on the idle server.
"""

import json
import multiprocessing
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from lib_server import Server, arguments, ask, finish, folder, noise_png, table, upload

ROOT = Path(__file__).resolve().parent.parent
PHOTOS = [ROOT / "fixtures/photos/street.jpg", ROOT / "fixtures/photos/toy.jpg"]
# Sources in bytes of their own, so that no source is read for another item at the same time.
VARIANTS = 256
THUMB = {"format": "webp", "ops": [{"op": "resize", "width": 300}]}
RATIO_MIN = 0.95
MEMORY_MAX = 1.1
P99_MAX = 1.5


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--bare", help="the built benches/bulk.rs; built by cargo otherwise")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of A B B A, and of A B for p99")
    parser.add_argument("--count", type=int, default=1000, help="thumbnails of one measurement")
    parser.add_argument("--items", type=int, default=100_000, help="small items of the measurement of memory")
    parser.add_argument("--hits", type=int, default=5000, help="cached requests of a percentile")
    parser.add_argument("--misses", type=int, default=200, help="renders of a percentile")
    parser.add_argument("--only", choices=("throughput", "memory", "p99"), help="one of the three")
    parser.add_argument("--report-only", action="store_true", help="bounds are printed, not enforced")
    parser.add_argument("server", nargs="*", help="more arguments of the server")
    options = parser.parse_args()
    violations = []
    parts = {"throughput": throughput, "memory": memory, "p99": p99}
    for name, part in parts.items():
        if options.only in (None, name):
            part(options, violations)
    if options.report_only:
        for violation in violations:
            print(f"beyond the bound: {violation}")
    finish([] if options.report_only else violations)


def throughput(options, violations):
    bare = options.bare or built()
    # Every item is a render.
    with folder() as root, Server(options.binary, f"{root}/data", *options.server) as server:
        ids = variants(server)
        lines = [item(ids[index % len(ids)], THUMB) for index in range(options.count)]
        ratios, rows = [], []
        bulk(server.port, lines[:len(ids)])
        for _ in range(options.rounds):
            runs = {"A": [], "B": []}
            for side in "ABBA":
                runs[side].append(bulk(server.port, lines) if side == "A" else in_a_loop(bare, options.count))
            ratios.append(sum(runs["B"]) / sum(runs["A"]))
            rows.append([2 * options.count / sum(runs[side]) for side in "AB"])
        ours, theirs = (statistics.median(column) for column in zip(*rows))
        ratio = statistics.median(ratios)
        table([("thumbnails", f"{ours:.1f}", f"{theirs:.1f}", f"{ratio:.3f}", f"{RATIO_MIN}")],
              ("throughput", "/bulk 1/s", "bare 1/s", "ratio", "least"))
        if ratio < RATIO_MIN:
            violations.append(f"throughput: {ratio:.3f} of the bare pipeline, at least {RATIO_MIN}")


def memory(options, violations):
    with folder() as root, Server(options.binary, f"{root}/data", *options.server) as server:
        connection = server.connect()
        _, digest = upload(connection, noise_png(16, 16))
        connection.close()
        few = 10_000
        rows = []
        for count in (few, options.items):
            # Each is rendered: results in bulk do not enter the cache.
            lines = (item(digest, {"format": "png", "ops": [{"op": "resize", "width": 1 + index % 16}]})
                     for index in range(count))
            took = bulk(server.port, lines, count)
            rows.append((count, *server.memory(), took))
        ratio = rows[1][2] / rows[0][2]
        shown = [(f"{count} items", f"{rss >> 20}", f"{peak >> 20}", f"{count / took:.0f}") for count, rss, peak, took in rows]
        table(shown, ("memory", "MiB", "peak MiB", "items/s"))
        print(f"peak: {ratio:.3f} times, at most {MEMORY_MAX}")
        if ratio > MEMORY_MAX:
            violations.append(f"memory: {ratio:.3f} times that after {few} items, at most {MEMORY_MAX}")


def p99(options, violations):
    with folder() as root, Server(options.binary, f"{root}/data", *options.server) as server:
        ids = variants(server)
        hit = f"/images/{ids[0]}.webp?w=300"
        server.request("GET", hit)
        widths = iter(range(16, 65_000))

        def times():
            hits = [timed(server, connection, hit) for _ in range(options.hits)]
            misses = [timed(server, connection, f"/images/{ids[1]}.webp?h={next(widths)}") for _ in range(options.misses)]
            return [percentile(hits), percentile(misses)]

        def beside_bulk():
            # A process of its own, since a thread would compete with the one that measures.
            sender = multiprocessing.Process(target=endless, args=(server.port, ids))
            sender.start()
            time.sleep(1)
            during = times()
            # The server must have been at work until now.
            ran = sender.is_alive()
            sender.terminate()
            sender.join()
            if not ran:
                sys.exit("the bulk request ended before the measurement did")
            # Requests under way end.
            time.sleep(1)
            return during

        connection = server.connect()
        times()
        rounds = [(times(), beside_bulk()) for _ in range(options.rounds)]
        connection.close()
        rows = []
        for kind, name in enumerate(("cached hit", "miss")):
            pairs = [(idle[kind], during[kind]) for idle, during in rounds]
            ratios = [during / idle for idle, during in pairs]
            ratio = statistics.median(ratios)
            idle, during = (statistics.median(times) * 1e3 for times in zip(*pairs))
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            rows.append((name, f"{idle:.2f}", f"{during:.2f}", f"{ratio:.2f}", spread, f"{P99_MAX}"))
            if ratio > P99_MAX:
                violations.append(f"{name}: p99 {ratio:.2f} times idle, at most {P99_MAX}")
        table(rows, ("p99", "idle ms", "bulk ms", "ratio", "of each round", "most"))


def timed(server, connection, path):
    began = time.perf_counter()
    status, _, body = ask(connection, "GET", path)
    took = time.perf_counter() - began
    if status != 200:
        sys.exit(f"{path} is answered {status}: {body[:300]}")
    return took


def percentile(times):
    return sorted(times)[max(0, round(len(times) * 0.99) - 1)]


def built():
    command = ["cargo", "bench", "--locked", "--bench", "bulk", "--no-run", "--message-format=json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    messages = map(json.loads, done.stdout.splitlines())
    return next(m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "bulk")


def in_a_loop(bare, count):
    """Seconds of the bare pipeline."""
    done = subprocess.run([bare, "--count", str(count)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["seconds"]


def variants(server):
    """Ids of the photographs, many times over in bytes of their own: with a comment after the start of the image."""
    photos = [path.read_bytes() for path in PHOTOS]
    connection, ids = server.connect(), []
    for index in range(VARIANTS):
        text = str(index).encode()
        comment = b"\xff\xfe" + struct.pack(">H", 2 + len(text)) + text
        photo = photos[index % len(photos)]
        status, digest = upload(connection, photo[:2] + comment + photo[2:])
        if digest is None:
            sys.exit(f"the server does not take a photograph: {status}")
        ids.append(digest)
    connection.close()
    return ids


def item(digest, output):
    return json.dumps({"source": {"id": digest}, "outputs": [output]}).encode() + b"\n"


def endless(port, ids):
    lines = (item(ids[index % len(ids)], {"format": "webp", "ops": [{"op": "resize", "width": 16 + index // len(ids)}]})
             for index in range(60_000 * len(ids)))
    bulk(port, lines)


def bulk(port, lines, count=None):
    """Sends on one thread and reads on another; seconds until the last line, which must report no failure."""
    count = len(lines) if isinstance(lines, list) else count
    began = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=600) as stream:
        stream.sendall(b"POST /bulk HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
                       b"Content-Type: application/x-ndjson\r\n\r\n")
        sender = threading.Thread(target=send, args=(stream, lines))
        sender.start()
        tail = b""
        while part := stream.recv(1 << 18):
            tail = (tail + part)[-400:]
        took = time.perf_counter() - began
        sender.join()
    last = tail[tail.rfind(b'{"done"'):].partition(b"\n")[0]
    done = json.loads(last or b"{}")
    if not done.get("done") or done["failed"] or done["ok"] != (count or done["ok"]):
        sys.exit(f"the bulk request ended with {tail[-300:]}")
    return took


def send(stream, lines):
    batch = []
    for line in lines:
        batch.append(line)
        if len(batch) == 100:
            send_chunk(stream, b"".join(batch))
            batch = []
    send_chunk(stream, b"".join(batch))
    stream.sendall(b"0\r\n\r\n")


def send_chunk(stream, body):
    if body:
        stream.sendall(f"{len(body):x}\r\n".encode() + body + b"\r\n")


if __name__ == "__main__":
    main()
