#!/usr/bin/env python3
"""CPU per request of the server against nginx serving files of the same bytes: same machine, same client, interleaved A B B A.

Cases: a cached rendition, a conditional request answered 304, an original; bodies of about 4, 16 and 64 KiB. The CPU time is that of
every thread of the server's process (of nginx: of its workers), from /proc/<pid>/stat. The bound is for the median of the ratios.
"""

import http.client
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

from lib_server import Server, arguments, ask, children, finish, folder, free_port, noise_png, table, upload

SIZES_KIB = (4, 16, 64)
BOUNDS = {4: 1.00, 16: 1.00, 64: 1.10}  # of a cached rendition; the other cases are printed
TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
CALLS_PER_HIT_MAX = 3

NGINX = """
worker_processes 1;
daemon off;
pid {root}/nginx.pid;
error_log {root}/nginx.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    keepalive_timeout 620s;
    open_file_cache max=1000 inactive=600s;
    open_file_cache_valid 600s;
    etag on;
    types {{ image/png png; image/webp webp; }}
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root}/www;
        add_header Cache-Control "public, max-age=31536000, immutable, no-transform";
        add_header X-Content-Type-Options nosniff;
    }}
}}
"""


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds of A B B A")
    parser.add_argument("--seconds", type=float, default=2, help="of one measurement")
    parser.add_argument("--connections", type=int, default=64, help="kept connections of the client")
    parser.add_argument("--client", help="wrk, h2load or ab; the first that is installed otherwise")
    parser.add_argument("--nginx", default="nginx", help="the nginx to compare with")
    parser.add_argument("--strace", action="store_true", help="also count system calls per hit (strace -c)")
    parser.add_argument("--json", default="target/edge.json", help="where the figures are written")
    parser.add_argument("--report-only", action="store_true", help="bounds are printed, not enforced")
    options = parser.parse_args()
    client, nginx = client_of(options.client), shutil.which(options.nginx) or shutil.which("/usr/sbin/nginx")
    if not nginx:
        sys.exit("nginx is missing: apt-get install -y nginx-light")
    rows, violations = [], []
    with folder() as root, Server(options.binary, f"{root}/data", log=f"{root}/log") as ours:
        os.chmod(root, 0o755)  # nginx's worker runs as another user when started by root
        port = free_port()
        cases = prepare(ours, Path(root))
        with Nginx(nginx, Path(root), port) as theirs:
            for case in cases:
                rows.append(measure(case, ours, theirs, client, options, violations))
            if options.strace:
                count_calls(cases[0], ours, client, options, violations)
    head = ("case", "bytes", "us", "nginx us", "ratio", "bound", "req/s", "nginx req/s")
    table(rows, head)
    Path(options.json).parent.mkdir(parents=True, exist_ok=True)
    Path(options.json).write_text(json.dumps([dict(zip(head, row)) for row in rows], indent=1))
    if options.report_only:
        for violation in violations:
            print(f"above the bound: {violation}")
    finish([] if options.report_only else violations)


class Case:
    """A request to both servers: a path and headers each, the status and the length of the body."""

    def __init__(self, name, size_kib, ours, theirs, status, length):
        self.name, self.size_kib, self.status, self.length = name, size_kib, status, length
        self.ours, self.theirs = ours, theirs


class Nginx:
    """nginx in the foreground with a configuration of its own, ended by its id."""

    def __init__(self, binary, root, port):
        self.binary, self.root, self.port = binary, root, port

    def __enter__(self):
        config = self.root / "nginx.conf"
        config.write_text(NGINX.format(root=self.root, port=self.port))
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([self.binary, "-p", str(self.root), "-c", str(config)], **quiet)
        for _ in range(200):
            if children(self.process.pid):
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.__exit__()
        sys.exit(f"nginx does not start: {(self.root / 'nginx.log').read_text()[-1000:]}")

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)

    def pids(self):
        return children(self.process.pid)


def prepare(ours, root):
    """Stores one picture per size, renders it, and gives nginx files of the same bytes."""
    (root / "www").mkdir()
    cases = []
    for kib in SIZES_KIB:
        # Noise hardly compresses: a lossless result of n pixels has about 3 n bytes.
        side = int((kib * 1024 / 3) ** 0.5)
        source = noise_png(side, side, kib)
        connection = ours.connect()
        _, digest = upload(connection, source)
        connection.close()
        if digest is None:
            sys.exit("the server does not take the picture of the measurement")
        # An explicit parameter, so that this is a render and not the original.
        original, rendition = f"/images/{digest}", f"/images/{digest}.png?metadata=none"
        status, headers, body = ours.request("GET", rendition)
        if status == 400:
            rendition = f"/images/{digest}.png?w={side}"
            status, headers, body = ours.request("GET", rendition)
        if status != 200:
            sys.exit(f"{rendition} is answered {status}: {body[:300]}")
        (root / f"www/{kib}.png").write_bytes(body)
        (root / f"www/{kib}-original.png").write_bytes(source)
        stamp = f"/{kib}.png"
        cases += [
            Case(f"cached {kib} KiB", kib, (rendition, {}), (stamp, {}), 200, len(body)),
            Case(f"304 {kib} KiB", kib, (rendition, {"If-None-Match": headers["etag"]}), (stamp, None), 304, 0),
            Case(f"original {kib} KiB", kib, (original, {}), (f"/{kib}-original.png", {}), 200, len(source)),
        ]
    return cases


def nginx_tag(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = ask(connection, "GET", path)[1]
    connection.close()
    return headers["etag"]


def measure(case, ours, theirs, client, options, violations):
    path, headers = case.theirs
    case.theirs = (path, {"If-None-Match": nginx_tag(theirs.port, path)} if headers is None else headers)
    sides = {"A": (ours.port, [ours.process.pid], case.ours), "B": (theirs.port, theirs.pids(), case.theirs)}
    for side in sides.values():
        verify(case, side)
        one(side, client, options, 0.3)
    ratios, figures = [], {"A": [], "B": []}
    for _ in range(options.rounds):
        half = {"A": [], "B": []}
        for name in "ABBA":
            half[name].append(one(sides[name], client, options, options.seconds))
        for name, runs in half.items():
            figures[name] += runs
        ratios.append(sum(us for us, _ in half["A"]) / max(1e-9, sum(us for us, _ in half["B"])))
    ratio = statistics.median(ratios)
    bound = BOUNDS[case.size_kib] if case.name.startswith("cached") else None
    if bound and ratio > bound:
        violations.append(f"{case.name}: {ratio:.2f} times nginx, at most {bound:.2f}")
    middle = {name: [statistics.median(column) for column in zip(*runs)] for name, runs in figures.items()}
    return (case.name, case.length, f"{middle['A'][0]:.1f}", f"{middle['B'][0]:.1f}", f"{ratio:.2f}",
            f"{bound:.2f}" if bound else "-", f"{middle['A'][1]:.0f}", f"{middle['B'][1]:.0f}")


def verify(case, side):
    """Checks that both servers answer the requests that are measured."""
    port, _, (path, headers) = side
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    status, _, body = ask(connection, "GET", path, None, headers)
    connection.close()
    if (status, len(body)) != (case.status, case.length):
        sys.exit(f"{case.name} on port {port}: {status} with {len(body)} bytes, expected {case.status} with {case.length}")


def one(side, client, options, seconds):
    """(CPU microseconds per request, requests per second) of one run."""
    port, pids, (path, headers) = side
    before = sum(map(cpu_us, pids))
    requests, took = client(f"http://127.0.0.1:{port}{path}", headers, options.connections, seconds)
    used = sum(map(cpu_us, pids)) - before
    return used / max(1, requests), requests / took


def cpu_us(pid):
    """User and system time of a process with all its threads, also ended ones."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_US


def client_of(name):
    clients = {"wrk": wrk, "h2load": h2load, "ab": ab}
    names = [name] if name else list(clients)
    for candidate in names:
        if candidate in clients and shutil.which(candidate):
            return clients[candidate]
    sys.exit("a fast client is missing: apt-get install -y wrk (or nghttp2-client for h2load, apache2-utils for ab)")


def flags(flag, headers):
    return [part for name, value in headers.items() for part in (flag, f"{name}: {value}")]


def wrk(url, headers, connections, seconds):
    # wrk takes whole seconds.
    text = tool(["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", *flags("-H", headers), url])
    failed = re.search(r"Socket errors: (.*)", text)
    if failed and any(int(n) for n in re.findall(r"\d+", failed[1])) or "Non-2xx or 3xx" in text:
        sys.exit(f"wrk met errors:\n{text}")
    requests, unit = re.search(r"(\d+) requests in ([\d.]+)s", text).groups()
    return int(requests), float(unit)


def h2load(url, headers, connections, seconds):
    command = ["h2load", "--h1", "-t1", f"-c{connections}", "-D", str(max(1, round(seconds)))]
    text = tool([*command, *flags("-H", headers), url])
    requests = int(re.search(r"(\d+) succeeded, 0 failed", text)[1])
    return requests, max(1, round(seconds))


def ab(url, headers, connections, seconds):
    command = ["ab", "-q", "-k", "-l", "-c", str(connections), "-t", str(max(1, round(seconds))), "-n", "100000000"]
    text = tool([*command, *flags("-H", headers), url])
    requests = int(re.search(r"Complete requests:\s+(\d+)", text)[1])
    return requests, float(re.search(r"Time taken for tests:\s+([\d.]+)", text)[1])


def tool(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        sys.exit(f"{command[0]} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def count_calls(case, ours, client, options, violations):
    """System calls per hit. strace slows the server, so nothing is timed here."""
    if not shutil.which("strace"):
        sys.exit("strace is missing: apt-get install -y strace")
    report = Path(ours.data).parent / "strace"
    tracer = subprocess.Popen(["strace", "-f", "-c", "-o", str(report), "-p", str(ours.process.pid)],
                              stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    requests, _ = client(f"http://127.0.0.1:{ours.port}{case.ours[0]}", {}, options.connections, 2)
    tracer.send_signal(signal.SIGINT)
    tracer.wait(20)
    rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", report.read_text(), re.MULTILINE)
    calls = {name: int(count) for count, name in rows if name != "total"}
    per_hit = sum(calls.values()) / max(1, requests)
    most = ", ".join(f"{name} {count / requests:.2f}" for name, count in sorted(calls.items(), key=lambda c: -c[1])[:6])
    print(f"system calls per hit: {per_hit:.2f} ({most}), {requests} hits")
    if per_hit > CALLS_PER_HIT_MAX:
        violations.append(f"{per_hit:.2f} system calls per hit, at most {CALLS_PER_HIT_MAX}")


if __name__ == "__main__":
    main()
