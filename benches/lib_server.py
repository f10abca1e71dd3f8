"""Shared by the scripts here: a server on a free loopback port, and a small HTTP client. Standard library only."""

import argparse
import http.client
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

READY_WITHIN_S = 30
REQUEST_TIMEOUT_S = 120


def arguments(description, **defaults):
    """A parser with --binary; each script adds its own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--binary", default=defaults.get("binary", "target/release/progimage"), help="the server")
    return parser


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """`progimage serve` on a data folder; a context that ends the process it started, by its id."""

    def __init__(self, binary, data, *extra, log=None):
        self.binary, self.data, self.extra = str(Path(binary).resolve()), Path(data), extra
        self.port = free_port()
        self.log = Path(log) if log else None
        self.process = None

    def start(self):
        command = [self.binary, "serve", "--listen", f"127.0.0.1:{self.port}", "--data", str(self.data), *self.extra]
        output = open(self.log, "ab") if self.log else subprocess.DEVNULL
        try:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        except OSError as error:
            sys.exit(f"cannot start {self.binary}: {error}; build it first: cargo build --release")
        finally:
            if self.log:
                output.close()
        deadline = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with status {self.process.returncode}{self.last_words()}")
            try:
                if self.request("GET", "/readyz")[0] == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.02)
        raise RuntimeError(f"the server was not ready within {READY_WITHIN_S} s{self.last_words()}")

    def last_words(self):
        return "\n" + self.log.read_text(errors="replace")[-2000:] if self.log and self.log.exists() else ""

    def kill(self):
        """Kills the process, as a crash does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()

    def alive(self):
        return self.process.poll() is None

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()

    def connect(self, timeout=REQUEST_TIMEOUT_S):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, timeout=REQUEST_TIMEOUT_S):
        """One request on its own connection: (status, headers with lower-case names, body)."""
        connection = self.connect(timeout)
        try:
            return ask(connection, method, path, body, headers)
        finally:
            connection.close()

    def memory(self):
        """(present, peak) resident bytes."""
        found = {}
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in ("VmRSS", "VmHWM"):
                found[name] = int(value.split()[0]) * 1024
        return found["VmRSS"], found["VmHWM"]

    def memory_of_all(self):
        """Present resident bytes of the server and its workers. Pages that they share count once for each."""
        return sum(map(resident, [self.process.pid, *children(self.process.pid)]))


def children(pid):
    """The processes that a process has started, whichever of its threads did."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for found in lists for child in found.read_text().split()]


def resident(pid):
    """Resident bytes of a process; none if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def ask(connection, method, path, body=None, headers=None):
    """One request on a kept connection.

    A server may answer and close before it has read the body, so the answer is read even where sending failed."""
    try:
        connection.request(method, path, body, headers or {})
    except (BrokenPipeError, ConnectionResetError):
        if connection.sock is None:
            raise
        response = http.client.HTTPResponse(connection.sock, method=method)
        response.begin()
        answer = response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        connection.close()
        return answer
    response = connection.getresponse()
    return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()


def upload(connection, body):
    """(status, id or None)."""
    status, _, answer = ask(connection, "POST", "/images", body, {"Content-Type": "application/octet-stream"})
    return status, json.loads(answer)["id"] if status in (200, 201) else None


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def noise_png(width, height, seed=0):
    """An RGB PNG of noise: about 3 x width x height bytes."""
    row = 3 * width
    pixels = random.Random(seed).randbytes(height * row)
    rows = b"".join(b"\0" + pixels[y * row:(y + 1) * row] for y in range(height))
    shape = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + shape + png_chunk(b"IDAT", zlib.compress(rows, 1)) + png_chunk(b"IEND", b"")


def labelled(png, label):
    """The PNG with `label` as a text chunk before the end: the same picture in other bytes. Cheap, so clients can make thousands."""
    return png[:-12] + png_chunk(b"tEXt", b"Comment\0" + label.encode()) + png[-12:]


def table(rows, head):
    """Prints aligned columns: the first to the left, the others to the right."""
    rows = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        cells = [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        print("  ".join(cells).rstrip())


def finish(violations):
    """Prints what was violated and ends with the status that says so."""
    for violation in violations[:50]:
        print(f"VIOLATION: {violation}")
    if len(violations) > 50:
        print(f"... and {len(violations) - 50} more")
    print("FAILED" if violations else "ok")
    sys.exit(1 if violations else 0)


def folder():
    """A temporary folder, removed at the end; PROGIMAGE_BENCH_FOLDER chooses the device."""
    return tempfile.TemporaryDirectory(prefix="progimage-bench-", dir=os.environ.get("PROGIMAGE_BENCH_FOLDER"))
