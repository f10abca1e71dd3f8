#!/usr/bin/env python3
"""Kills the server (SIGKILL) under load, many times, and keeps a ledger of what was acknowledged.

Clients upload, delete and render until the server is killed; it is started again over the same data folder. After each restart: what
was acknowledged lately is there with its bytes, what was deleted is gone, and one target always gives one rendition. At the end of a
part all of the ledger is checked: every acknowledged id is there with its bytes; an id that was sent but not acknowledged is absent or
has its bytes; nothing else is served. It shows that the process may die at any moment. Power cuts of the device are in the crash model
of the store's own tests.

A run is made of parts, each in a new data folder. With --progress FILE a run that was stopped goes on after its last whole part.
"""

import hashlib
import http.client
import json
import random
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lib_server import Server, arguments, ask, finish, folder, labelled, noise_png, table, upload

# About 0.3, 5, 77 and 1,470 KB: bodies that stay in memory and ones that are spilled.
PICTURES = [noise_png(side, side) for side in (8, 40, 160, 700)]
TARGETS = (".webp?w=32", ".jpg?w=48&blur=2", ".png?rotate=90&w=24", ".avif?w=20")
# Kills after which an acknowledged upload is checked at each restart. All are checked at the end of the part.
RECENT = 3


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="how often the server is killed")
    parser.add_argument("--part", type=int, default=100, help="kills over one data folder")
    parser.add_argument("--clients", type=int, default=32, help="clients; one in eight renders, one in eight deletes")
    parser.add_argument("--seconds", type=float, default=0.6, help="longest time from ready to the kill")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")
    parser.add_argument("--progress", type=Path, help="file of whole parts, one JSON object a line")
    parser.add_argument("extra", nargs="*", help="flags of the server, after --")
    options = parser.parse_args()
    parts = read_parts(options.progress)
    while (done := sum(part["kills"] for part in parts)) < options.kills:
        parts.append(one_part(options, len(parts), min(options.part, options.kills - done)))
        if options.progress:
            with open(options.progress, "a") as file:
                file.write(json.dumps(parts[-1]) + "\n")
    columns = ("kills", "uploads", "deletes", "renders", "sent only", "of these there")
    table([[part[column] for column in columns] for part in parts[:: max(1, len(parts) // 10)]], columns)
    print("in all: " + ", ".join(f"{sum(part[column] for part in parts):,} {column}" for column in columns))
    violations = [violation for part in parts for violation in part["violations"]]
    if not all(part["uploads"] for part in parts):
        violations.append("in a part nothing was ever acknowledged: it shows nothing")
    finish(violations)


def read_parts(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path and path.exists() else []


def one_part(options, number, kills):
    """Kills the server over one data folder; returns what was counted and violated."""
    moments, ledger = random.Random(f"{options.seed} {number}"), Ledger()
    with folder() as root:
        def server():
            return Server(options.binary, f"{root}/data", *options.extra, log=f"{root}/log")

        for kill in range(kills):
            with server() as running:
                check(running, ledger, ledger.recent(kill - RECENT))
                load(running, ledger, kill, options.clients, moments.uniform(0.02, options.seconds))
        with server() as running:
            check(running, ledger, ledger.recent(0))
            there = check_unacknowledged(running, ledger)
    counts = {"kills": kills, "uploads": len(ledger.acknowledged), "deletes": len(ledger.deleted), "renders": ledger.renders}
    if sys.stdout.isatty():
        print(f"part {number}: {counts}", flush=True)
    return {**counts, "sent only": ledger.sent_only(), "of these there": there, "violations": ledger.violations[:50]}


class Ledger:
    """All uploads by the SHA-256 of their bytes, with what was acknowledged."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sent, self.violations, self.renders = set(), [], 0
        # By id: (SHA-256, number of the kill before which it was acknowledged).
        self.acknowledged = {}
        # Ids whose delete was sent, and those whose delete was acknowledged.
        self.doomed, self.deleted = set(), set()
        # By target: the SHA-256 of its rendition.
        self.rendered = {}
        # Ids of images that are never deleted, the latest ones: they are rendered, also after a restart.
        self.shared = deque(maxlen=64)

    def send(self, body):
        name = hashlib.sha256(body).digest()
        with self.lock:
            self.sent.add(name)
        return name

    def acknowledge(self, name, digest, kill):
        with self.lock:
            if self.acknowledged.setdefault(digest, (name, kill))[0] != name:
                self.violations.append(f"{digest} was given to two different images")

    def render(self, target, body):
        name = hashlib.sha256(body).digest()
        with self.lock:
            self.renders += 1
            if self.rendered.setdefault(target, name) != name:
                self.violations.append(f"{target} gave other bytes than before")

    def violate(self, text):
        with self.lock:
            self.violations.append(text)

    def recent(self, since):
        """Acknowledged ids, from a kill on."""
        return [digest for digest, (_, kill) in self.acknowledged.items() if kill >= since]

    def sent_only(self):
        return len(self.sent - {name for name, _ in self.acknowledged.values()})


def load(server, ledger, kill, clients, seconds):
    """Uploads, deletes and renders from all clients until the server is killed after `seconds`."""
    stop = threading.Event()

    def client(number):
        connection, turn, mine = server.connect(timeout=20), 0, []
        while not stop.is_set():
            turn += 1
            try:
                if number % 8 == 6 and ledger.shared:
                    render(connection, ledger, ledger.shared[turn % len(ledger.shared)], TARGETS[turn % len(TARGETS)])
                elif number % 8 == 7 and len(mine) > 2:
                    delete(connection, ledger, mine.pop(0))
                else:
                    send(connection, ledger, kill, number, turn, mine)
            except (OSError, http.client.HTTPException, ValueError):
                # The server is gone, or its answer was cut: not acknowledged.
                connection.close()

    threads = [threading.Thread(target=client, args=(n,), daemon=True) for n in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    # What is under way is cut; nothing more is sent to a server that is gone.
    stop.set()
    server.kill()
    for thread in threads:
        thread.join(30)


def send(connection, ledger, kill, number, turn, mine):
    # The other clients send every fifth upload too, at about the same time. These are never deleted.
    shared = turn % 5 == 4
    picture = PICTURES[(turn if shared else number + turn) % len(PICTURES)]
    body = labelled(picture, f"{kill} {turn} {'all' if shared else number}")
    name = ledger.send(body)
    status, digest = upload(connection, body)
    if digest:
        ledger.acknowledge(name, digest, kill)
        (ledger.shared if shared else mine).append(digest)
    elif status != 503:
        ledger.violate(f"an upload was answered {status}")


def render(connection, ledger, digest, target):
    status, _, body = ask(connection, "GET", f"/images/{digest}{target}")
    if status == 200:
        ledger.render(f"/images/{digest}{target}", body)
    elif status != 503:
        ledger.violate(f"/images/{digest}{target} was answered {status}")


def delete(connection, ledger, digest):
    ledger.doomed.add(digest)
    status, _, _ = ask(connection, "DELETE", f"/images/{digest}")
    if status == 204:
        ledger.deleted.add(digest)
    elif status != 503:
        ledger.violate(f"the delete of {digest} was answered {status}")


def check(server, ledger, digests):
    """Checks what the server answers for acknowledged ids."""
    connections = threading.local()

    def one(digest):
        if not hasattr(connections, "kept"):
            connections.kept = server.connect()
        try:
            status, _, body = ask(connections.kept, "GET", f"/images/{digest}")
        except (OSError, http.client.HTTPException) as error:
            return f"{digest}: {error!r}"
        if digest in ledger.deleted:
            return None if status == 404 else f"{digest} was deleted and is answered {status}"
        if status == 404 and digest in ledger.doomed:
            return None
        if status != 200:
            return f"{digest} was acknowledged and is answered {status}"
        return None if hashlib.sha256(body).digest() == ledger.acknowledged[digest][0] else f"{digest} has other bytes"

    with ThreadPoolExecutor(8) as pool:
        ledger.violations.extend(filter(None, pool.map(one, digests)))


def check_unacknowledged(server, ledger):
    """Images that are stored but not in the ledger: found in the data folder by name, read over HTTP, compared with all uploads.

    Returns the number of those that are served."""
    served = 0
    for digest in set(stored(server.data)) - set(ledger.acknowledged):
        status, _, body = server.request("GET", f"/images/{digest}")
        if status == 200:
            served += 1
            if hashlib.sha256(body).digest() not in ledger.sent:
                ledger.violate(f"{digest} is served, but was never sent with these bytes")
        elif status != 404:
            ledger.violate(f"{digest} was not acknowledged and is answered {status}")
    return served


def stored(data):
    """Names in the folder of blobs that are ids."""
    for path in (data / "blobs").rglob("*"):
        if len(path.name) == 64 and set(path.name) <= set("0123456789abcdef") and path.is_file():
            yield path.name


if __name__ == "__main__":
    main()
