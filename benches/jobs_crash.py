#!/usr/bin/env python3
"""Kills the server (SIGKILL) every few seconds while a job runs, and starts it again, until the job is done.

Then: the results name each output of each item exactly once, none was lost on the way, and what they name is there: renditions have
their size, blobs have their id. `--route bulk` does this over POST /bulk, where the client sends items without a result line again.
"""

import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from lib_server import Server, arguments, ask, finish, folder, labelled, noise_png, table, upload

PHOTO = Path(__file__).resolve().parent.parent / "fixtures/photos/street.jpg"
WIDTH_MIN = 8
# Every so many items ask for a blob instead of a rendition.
BLOB_EVERY = 10


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--route", choices=("jobs", "bulk"), default="jobs")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--images", type=int, default=2_000, help="stored images, each the source of items / images items")
    parser.add_argument("--photographs", action="store_true", help="photographs instead of images of 64 px")
    parser.add_argument("--every", type=float, default=3.0, help="mean seconds between two kills")
    parser.add_argument("--sample", type=int, default=1_000, help="results that are fetched at the end")
    parser.add_argument("--all", action="store_true", help="fetch all of them")
    parser.add_argument("--seed", type=int, default=1, help="of the moments of the kills")
    options = parser.parse_args()
    options.images = min(options.images, options.items)
    run = Run(options)
    with folder() as root:
        with Server(options.binary, f"{root}/data", log=f"{root}/log") as server:
            ids = store(server, options)
            items = [item(ids, number) for number in range(options.items)]
        started = time.monotonic()
        lines = {"jobs": by_job, "bulk": by_bulk}[options.route](run, root, items)
        seconds = time.monotonic() - started
        with Server(options.binary, f"{root}/data", log=f"{root}/log") as server:
            check(server, options, lines, run.violations)
    table(run.rows[:: max(1, len(run.rows) // 10)], ("kill", "results"))
    print(f"{options.route}: {options.items} items, {run.kills} kills, {seconds:.1f} s")
    if run.kills == 0:
        run.violations.append("the server was never killed: the run shows nothing; more --items, or a smaller --every")
    finish(run.violations)


class Run:
    """The results over all restarts of the server."""

    def __init__(self, options):
        self.options, self.moments = options, random.Random(options.seed)
        self.kills, self.rows, self.violations = 0, [], []

    def lives(self, root):
        """Yields one server after the other. Each one is used until it is killed."""
        while True:
            with Server(self.options.binary, f"{root}/data", log=f"{root}/log") as server:
                moment = self.moments.uniform(0.3, 1.7) * self.options.every
                timer = threading.Timer(moment, server.kill)
                timer.start()
                try:
                    yield server
                finally:
                    timer.cancel()
                    timer.join()
                self.kills += not server.alive()


def store(server, options):
    """The ids of the images."""
    picture, connection = noise_png(64, 64), server.connect()
    make = (lambda label: labelled_jpeg(PHOTO.read_bytes(), label)) if options.photographs else (
        lambda label: labelled(picture, label))
    return [upload(connection, make(f"image {number}"))[1] for number in range(options.images)]


def labelled_jpeg(jpeg, label):
    """The JPEG with a comment after its first marker."""
    return jpeg[:2] + b"\xff\xfe" + struct.pack(">H", len(label) + 2) + label.encode() + jpeg[2:]


def item(ids, number):
    """Two outputs: a PNG, the width of which can be read without a decoder, and, of some items, a blob."""
    width = WIDTH_MIN + number // len(ids)
    resize = {"format": "png", "ops": [{"op": "resize", "width": width}], "to": "rendition"}
    blob = {**resize, "to": "blob"}
    outputs = [resize, blob] if number % BLOB_EVERY == 0 else [resize]
    return {"key": str(number), "source": {"id": ids[number % len(ids)]}, "outputs": outputs}


def expected(number):
    return [(number, 0), (number, 1)] if number % BLOB_EVERY == 0 else [(number, 0)]


def by_job(run, root, items):
    """Submits the items as one job and follows it to its end; its result lines."""
    body = b"".join(json.dumps(one).encode() + b"\n" for one in items)
    path, seen = None, 0
    for server in run.lives(root):
        try:
            # The same request again each time: it finds the job, once it was accepted.
            status, fields, answer = server.request("POST", "/jobs", body)
            if status not in (200, 202) or (path and (status, fields["location"]) != (200, path)):
                run.violations.append(f"POST /jobs is answered {status} {answer[:200]}, after {path}")
                return []
            path = fields["location"]
            while True:
                job = json.loads(server.request("GET", path)[2])
                ended = job["done"] + job["failed"]
                if ended < seen:
                    run.violations.append(f"{seen} items had ended, now {ended}")
                seen = ended
                if job["state"] == "done":
                    lines = [json.loads(line) for line in server.request("GET", f"{path}/results")[2].splitlines()]
                    if lines.pop().get("done") is not True:
                        run.violations.append("the results have no last line")
                    return lines
                time.sleep(0.05)
        except (OSError, HTTPException, ValueError):
            run.rows.append((run.kills, seen))


def by_bulk(run, root, items):
    """Sends items without a result line until all have one; all result lines, with items numbered as in `items`."""
    found = {}
    for server in run.lives(root):
        left = [number for number in range(len(items)) if any(place not in found for place in expected(number))]
        if not left:
            return list(found.values())
        try:
            for line in bulk(server, [items[number] for number in left]):
                line["item"] = left[line["item"]]
                place = (line["item"], line["output"])
                # An item with a result for one output only is sent again whole.
                found.setdefault(place, line)
        except (OSError, HTTPException, ValueError):
            pass
        run.rows.append((run.kills, len(found)))


def bulk(server, items):
    """Result lines of POST /bulk as they come; the items are sent meanwhile."""
    with socket.create_connection(("127.0.0.1", server.port), 60) as client:
        threading.Thread(target=send, args=(client, items), daemon=True).start()
        response = HTTPResponse(client, method="POST")
        response.begin()
        for line in response:
            line = json.loads(line)
            if "done" in line:
                return
            yield line


def send(client, items):
    body = b"".join(json.dumps(one).encode() + b"\n" for one in items)
    head = f"POST /bulk HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    try:
        client.sendall(head.encode() + body)
    except OSError:
        # Killed.
        pass


def check(server, options, lines, violations):
    """Checks the result lines against the items."""
    named = Counter((line["item"], line.get("output")) for line in lines)
    wanted = {place for number in range(options.items) for place in expected(number)}
    for place, count in named.items():
        if count > 1 or place not in wanted:
            violations.append(f"item and output {place} are named {count} times")
    violations.extend(f"item and output {place} have no result" for place in wanted - set(named))
    violations.extend(f"failed: {line}" for line in lines if "problem" in line)
    good = [line for line in lines if "problem" not in line]
    sample = good if options.all else random.Random(options.seed).sample(good, min(options.sample, len(good)))
    connection = server.connect()
    for line in sample:
        status, _, body = ask(connection, "GET", line["url"])
        width = struct.unpack(">I", body[16:20])[0] if status == 200 else None
        if width != WIDTH_MIN + line["item"] // options.images:
            violations.append(f"{line['url']} is answered {status}, {width} px wide")
        # The server hashes every upload. Equal bytes have the id of the image that is stored already.
        elif "id" in line and upload(connection, body) != (200, line["id"]):
            violations.append(f"{line['url']} has bytes of another id")
    print(f"{len(lines)} results, {len(sample)} of them fetched")


if __name__ == "__main__":
    main()
