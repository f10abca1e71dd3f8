#!/usr/bin/env python3
"""Kills the server (SIGKILL) while clients upload, many times over one data folder, and keeps a ledger of what was acknowledged.

After each restart: every acknowledged id is there with its bytes; an id that was sent but not acknowledged is absent or has its
bytes; nothing else is served. It shows that the process may die at any moment. Power cuts of the
device are in the crash model of the store's own tests.
"""

import hashlib
import http.client
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from lib_server import Server, arguments, ask, finish, folder, labelled, noise_png, table, upload

# About 0.3, 5, 77 and 1,470 KB: bodies that stay in memory and ones that are spilled.
PICTURES = [noise_png(side, side) for side in (8, 40, 160, 700)]


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="how often the server is killed")
    parser.add_argument("--clients", type=int, default=32, help="clients that upload")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")
    options = parser.parse_args()
    moments = random.Random(options.seed)
    ledger, rows, violations = Ledger(), [], []
    with folder() as root:
        for kill in range(options.kills):
            server = Server(options.binary, f"{root}/data", log=f"{root}/log")
            with server:
                check(server, ledger, violations)
                run(server, ledger, kill, options.clients, moments.uniform(0.05, 0.6))
            rows.append((kill, len(ledger.acknowledged), ledger.sent_only()))
        with Server(options.binary, f"{root}/data", log=f"{root}/log") as server:
            started = time.monotonic()
            served = check(server, ledger, violations)
            seconds = time.monotonic() - started
    table(rows[:: max(1, len(rows) // 10)], ("kill", "acknowledged", "sent only"))
    print(f"{options.kills} kills, {len(ledger.acknowledged)} acknowledged, all there at the end: {not violations}; "
          f"{served} of {ledger.sent_only()} sent only are there; last check {seconds:.1f} s")
    if not ledger.acknowledged:
        violations.append("nothing was ever acknowledged: the run shows nothing")
    finish(violations + ledger.violations)


class Ledger:
    """All uploads by the SHA-256 of their bytes, with the id of each acknowledged one."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sent, self.acknowledged, self.violations = set(), {}, []

    def send(self, body):
        name = hashlib.sha256(body).digest()
        with self.lock:
            self.sent.add(name)
        return name

    def acknowledge(self, name, digest):
        with self.lock:
            if self.acknowledged.setdefault(digest, name) != name:
                self.violations.append(f"{digest} was given to two different images")

    def violate(self, text):
        with self.lock:
            self.violations.append(text)

    def sent_only(self):
        return len(self.sent - set(self.acknowledged.values()))


def run(server, ledger, kill, clients, seconds):
    """Uploads from all clients until the server is killed after `seconds`."""
    stop = threading.Event()

    def client(number):
        connection, turn = server.connect(timeout=20), 0
        while not stop.is_set():
            # The other clients send every fifth upload too, at about the same time.
            who = "all" if turn % 5 == 4 else number
            picture = PICTURES[(turn if who == "all" else number + turn) % len(PICTURES)]
            body = labelled(picture, f"{kill} {turn} {who}")
            name, turn = ledger.send(body), turn + 1
            try:
                status, digest = upload(connection, body)
            except (OSError, http.client.HTTPException, ValueError):
                # The server is gone, or its answer was cut: not acknowledged.
                connection.close()
                continue
            if digest:
                ledger.acknowledge(name, digest)
            elif status != 503:
                ledger.violate(f"an upload was answered {status}")

    threads = [threading.Thread(target=client, args=(n,), daemon=True) for n in range(clients)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    server.kill()
    stop.set()
    for thread in threads:
        thread.join(30)


def check(server, ledger, violations):
    """Checks the server against the ledger; returns the number of listed ids that were never acknowledged."""
    connections = threading.local()

    def one(item):
        digest, name = item
        if not hasattr(connections, "kept"):
            connections.kept = server.connect()
        try:
            status, _, body = ask(connections.kept, "GET", f"/images/{digest}")
        except (OSError, http.client.HTTPException) as error:
            return f"{digest}: {error!r}"
        if status != 200:
            return f"{digest} was acknowledged and is answered {status}"
        return None if hashlib.sha256(body).digest() == name else f"{digest} has other bytes"

    with ThreadPoolExecutor(8) as pool:
        violations.extend(filter(None, pool.map(one, list(ledger.acknowledged.items()))))
    return check_unacknowledged(server, ledger, violations)


def check_unacknowledged(server, ledger, violations):
    """Images that are stored but not in the ledger: found in the data folder by name, read over HTTP, compared with all uploads."""
    others = set(stored(server.data)) - set(ledger.acknowledged)
    served = 0
    for digest in others:
        status, _, body = server.request("GET", f"/images/{digest}")
        if status == 200:
            served += 1
            if hashlib.sha256(body).digest() not in ledger.sent:
                violations.append(f"{digest} is served, but was never sent with these bytes")
        elif status != 404:
            violations.append(f"{digest} was not acknowledged and is answered {status}")
    return served


def stored(data):
    """Names in the data folder that are ids, whole or as shard and rest."""
    for path in data.rglob("*"):
        name = path.name if len(path.name) == 64 else path.parent.name + path.name
        if len(name) == 64 and set(name) <= set("0123456789abcdef") and path.is_file():
            yield name


if __name__ == "__main__":
    main()
