#!/usr/bin/env python3
"""Times every operation on a photograph of 2 megapixels next to sharp: interleaved A B B A, medians of ratios, one thread each.

Both from raw pixels to raw pixels: ours is decode + operations + encode of Server-Timing (POST of a PPM, answered as PPM; nothing
is stored or cached), sharp's a call with raw pixels in and out. The first row is the time of both without an operation.

sharp is found in --sharp: `npm install --prefix FOLDER sharp`, then --sharp FOLDER. Without it ours is timed alone.
"""

import json
import os
import re
import statistics
import subprocess
from pathlib import Path

from lib_server import Server, arguments, ask, finish, folder, table, upload

PHOTO = "fixtures/photos/toy.jpg"
WIDTH = 1796  # 1796 x 1114: 2 megapixels
# Our query, and the equivalent for sharp; None: sharp has no equivalent.
CASES = {
    "nothing": ("metadata=none", "image"),
    "crop": ("crop=10%25,10%25,50%25,50%25", "image.extract({left: 180, top: 111, width: 898, height: 557})"),
    "trim": ("trim=10", "image.trim({threshold: 10})"),
    "resize to 512": ("w=512", "image.resize(512)"),
    "resize, cover, attention": (
        "w=400&h=400&fit=cover&g=attention",
        "image.resize(400, 400, {position: 'attention'})",
    ),
    "rotate 90": ("rotate=90", "image.rotate(90)"),
    "rotate 15": ("rotate=15", "image.rotate(15, {background: 'white'})"),
    "flip": ("flip=h", "image.flop()"),
    "exposure": ("exposure=1", None),
    "brightness": ("brightness=20", "image.modulate({brightness: 1.2})"),
    "contrast": ("contrast=20", "image.linear(1.2, -25.5)"),
    "saturation": ("saturation=30", "image.modulate({saturation: 1.3})"),
    "hue": ("hue=90", "image.modulate({hue: 90})"),
    "gamma": ("gamma=2.2", "image.gamma(2.2)"),
    "grayscale": ("grayscale", "image.grayscale()"),
    "sepia": ("sepia=100", "image.recomb([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])"),
    "invert": ("invert", "image.negate()"),
    "tint": ("tint=ff8800", "image.tint('#ff8800')"),
    "duotone": ("duotone=102040,ffe0a0", None),
    "normalize": ("normalize", "image.normalise()"),
    "equalize": ("equalize", None),
    "posterize": ("posterize=4", None),
    "threshold": ("threshold=128", "image.threshold(128)"),
    "opacity": ("opacity=50", "image.ensureAlpha(0.5)"),
    "blur 2": ("blur=2", "image.blur(2)"),
    "blur 20": ("blur=20", "image.blur(20)"),
    "sharpen": ("sharpen=2", "image.sharpen({sigma: 2})"),
    "median 3": ("median=3", "image.median(3)"),
    "median 7": ("median=7", "image.median(7)"),
    "pixelate": ("pixelate=16", None),
    "edge": ("edge", None),
    "emboss": ("emboss", "image.convolve({width: 3, height: 3, kernel: [-2, -1, 0, -1, 1, 1, 0, 1, 2]})"),
    "vignette": ("vignette=60", None),
    "noise": ("noise=20,1", None),
    "convolve 5x5": (
        "convolve=" + ",".join(["1"] * 25),
        "image.convolve({width: 5, height: 5, kernel: new Array(25).fill(1)})",
    ),
    "mask": ("mask={id}", "image.ensureAlpha().composite([{input: overlay, blend: 'dest-in'}])"),
    "circle": ("circle", None),
    "ellipse": ("ellipse", None),
    "radius": ("radius=80", None),
    "transparent": ("transparent=ffffff,40", None),
    "overlay": ("overlay={id}", "image.composite([{input: overlay, gravity: 'center'}])"),
    "pad": ("pad=40", "image.extend({top: 40, bottom: 40, left: 40, right: 40, background: 'white'})"),
}


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--sharp", help="the folder that sharp is installed in")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of A B B A")
    parser.add_argument("--only", help="a regular expression of names")
    parser.add_argument("--json", default="target/operations.json", help="where the figures are written")
    options = parser.parse_args()
    cases = {name: case for name, case in CASES.items() if not options.only or re.search(options.only, name)}
    with folder() as root, Server(options.binary, f"{root}/data", "--cache-bytes-max", "0", log=f"{root}/log") as server:
        connection = server.connect()
        _, photo = upload(connection, Path(PHOTO).read_bytes())
        status, _, ppm = ask(connection, "GET", f"/images/{photo}.ppm?w={WIDTH}")
        assert status == 200, ppm
        _, star = upload(connection, star_pam())
        height = int(ppm.split(b"\n", 2)[1].split()[1])
        sharp = Sharp(options.sharp, root, ppm, WIDTH, height) if options.sharp else None
        figures = [measure(name, case, connection, ppm, star, sharp, options.rounds) for name, case in cases.items()]
    rows = [(f["name"], f"{f['ms']:.1f}", text(f["sharp_ms"]), text(f["ratio"], 2), f["note"]) for f in figures]
    print(f"{WIDTH} x {height} RGB, {options.rounds} rounds; ratio: sharp's time over ours, above 1 ours is faster")
    table(rows, ("operation", "ms", "sharp ms", "ratio", "note"))
    Path(options.json).parent.mkdir(parents=True, exist_ok=True)
    Path(options.json).write_text(json.dumps(figures, indent=1))
    finish([])


def measure(name, case, connection, ppm, star, sharp, rounds):
    query, words = case
    path = f"/process.ppm?{query.replace('{id}', star)}"
    ours, theirs, ratios = [], [], []
    for _ in range(rounds):
        a = [once(connection, path, ppm)]
        b = [sharp.once(words), sharp.once(words)] if sharp and words else []
        a.append(once(connection, path, ppm))
        ours += a
        if b:
            theirs += b
            ratios.append(statistics.mean(b) / statistics.mean(a))
    note = "" if words else "sharp has none"
    median = lambda values: statistics.median(values) if values else None
    return {"name": name, "ms": median(ours), "sharp_ms": median(theirs), "ratio": median(ratios), "note": note}


def once(connection, path, ppm):
    status, headers, body = ask(connection, "POST", path, ppm, {"Content-Type": "image/x-portable-pixmap"})
    if status != 200:
        raise SystemExit(f"{path}: {status} {body[:300]}")
    return sum(float(ms) for ms in re.findall(r"(?:decode|operations|encode);dur=([\d.]+)", headers["server-timing"]))


class Sharp:
    def __init__(self, prefix, root, ppm, width, height):
        path = Path(root) / "pixels"
        path.write_bytes(ppm[-width * height * 3:])
        environment = {**os.environ, "NODE_PATH": str(Path(prefix) / "node_modules")}
        script = str(Path(__file__).with_name("operations.cjs"))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(["node", script, str(path), str(width), str(height)], env=environment, **pipes)

    def once(self, words):
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"sharp ended at {words}")
        return float(line)


def star_pam():
    """A disc with alpha, as PAM."""
    side = 300
    pixel = lambda x, y: bytes((255, 160, 0, 255 if (x - 150) ** 2 + (y - 150) ** 2 < 140 ** 2 else 0))
    head = f"P7\nWIDTH {side}\nHEIGHT {side}\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n".encode()
    return head + b"".join(pixel(x, y) for y in range(side) for x in range(side))


def text(value, places=1):
    return "" if value is None else f"{value:.{places}f}"


if __name__ == "__main__":
    main()
