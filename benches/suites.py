#!/usr/bin/env python3
"""Uploads every file below a folder of another project's test images, asks for /info and conversions, and compares the PNG
with what Pillow makes of the file: upright, in sRGB, first frame, alpha premultiplied. Prints what differs and what one of
both refuses. No answer may be a 5xx, and none may take longer than --answer-s-max.

Pillow and numpy are used by the interpreter given by --python (a virtual environment), else by the running one.
"""

import io
import json
import os
import sys
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path

from lib_server import Server, arguments, ask, finish, folder, table, upload

CONVERSIONS = (".jpg?w=64", ".webp?w=64", ".gif?w=64&frame=0")
# Of 0..255 samples. Chroma upsampling and colour management may differ by this much between right decoders.
MEAN_MAX, WORST_MAX = 1.2, 16


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--folder", required=True, help="the files")
    parser.add_argument("--python", help="an interpreter that has Pillow and numpy")
    parser.add_argument("--answer-s-max", type=float, default=30, help="an answer slower than this is a violation")
    parser.add_argument("--json", type=Path, help="where every outcome is written")
    parser.add_argument("extra", nargs="*", help="flags of the server, after --")
    options = parser.parse_args()
    if options.python and not os.environ.get("PROGIMAGE_SUITES_CHILD"):
        os.environ["PROGIMAGE_SUITES_CHILD"] = "1"
        os.execv(options.python, [options.python, *sys.argv])
    warnings.simplefilter("ignore")
    files = sorted(path for path in Path(options.folder).rglob("*") if path.is_file() and path.stat().st_size)
    with folder() as root, Server(options.binary, f"{root}/data", *options.extra, log=f"{root}/log") as server:
        run = Run(server, options)
        for file in files:
            run.file(file)
    report(run, options)
    finish(run.violations)


class Run:
    def __init__(self, server, options):
        self.server, self.options = server, options
        self.connection = server.connect()
        self.outcomes, self.violations = defaultdict(list), []

    def file(self, file):
        name, body = str(file.relative_to(self.options.folder)), file.read_bytes()
        status, digest = self.timed(name, "upload", lambda: upload(self.connection, body))
        theirs, reason = reference(body)
        if digest is None:
            return self.outcome(name, "refused by both" if theirs is None else "refused here alone", f"upload {status}")
        path = f"/images/{digest}"
        info_status, _, info = self.timed(name, "info", lambda: ask(self.connection, "GET", f"{path}/info"))
        status, _, png = self.timed(name, ".png", lambda: ask(self.connection, "GET", f"{path}.png"))
        for conversion in CONVERSIONS:
            converted, _, _ = self.timed(name, conversion, lambda: ask(self.connection, "GET", path + conversion))
            if (converted == 200) != (status == 200):
                self.outcome(name, "conversions disagree", f".png {status}, {conversion} {converted}")
        if status != 200:
            return self.outcome(name, "refused by both" if theirs is None else "refused here alone", detail(png))
        if theirs is None:
            return self.outcome(name, "shown here alone", reason)
        self.compare(name, png, theirs, json.loads(info) if info_status == 200 else {})

    def compare(self, name, png, theirs, info):
        ours, _ = reference(png)
        if ours is None:
            return self.violations.append(f"{name}: the PNG cannot be opened")
        if ours.shape != theirs.shape:
            return self.outcome(name, "other size", f"{ours.shape[1::-1]} here, {theirs.shape[1::-1]} there")
        difference = abs(ours - theirs)
        mean, worst = float(difference.mean()), float(difference.max())
        same = mean <= MEAN_MAX and worst <= WORST_MAX
        self.outcome(name, "equal" if same else "differs", f"mean {mean:.2f}, worst {worst:.0f}, {info.get('format')}")

    def outcome(self, name, what, why):
        self.outcomes[what].append((name, why))

    def timed(self, name, what, call):
        began = time.monotonic()
        answer = call()
        if answer[0] >= 500:
            self.violations.append(f"{name} {what}: {answer[0]}")
        if time.monotonic() - began > self.options.answer_s_max:
            self.violations.append(f"{name} {what}: {time.monotonic() - began:.1f} s")
        return answer


def detail(body):
    try:
        return json.loads(body)["detail"][:150]
    except (ValueError, KeyError):
        return str(body[:150])


def reference(body):
    """The first frame as premultiplied RGBA floats, upright, in sRGB; or None and why not."""
    import numpy
    from PIL import Image, ImageCms, ImageOps
    try:
        image = Image.open(io.BytesIO(body))
        image.load()
        profile = image.info.get("icc_profile")
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16") or image.mode == "I":
            image = Image.fromarray((numpy.asarray(image).astype("uint32") / 257 + 0.5).clip(0, 255).astype("uint8"))
        if profile and image.mode in ("RGB", "CMYK", "L"):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
            intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
            image = ImageCms.profileToProfile(image, source, target, renderingIntent=intent, outputMode="RGB", flags=flags) or image
        pixels = numpy.asarray(image.convert("RGBA")).astype("float32")
        pixels[..., :3] *= pixels[..., 3:] / 255
        return pixels, None
    except Exception as error:  # Pillow raises whatever its plugins raise.
        return None, f"{type(error).__name__}: {error}"[:150]


def report(run, options):
    import PIL
    total = Counter({what: len(found) for what, found in run.outcomes.items()})
    print(f"Pillow {PIL.__version__}")
    table(sorted(total.items()), ("outcome", "files"))
    for what in ("differs", "other size", "refused here alone", "conversions disagree"):
        for name, why in run.outcomes[what]:
            print(f"{what}: {name}: {why}")
    if options.json:
        options.json.write_text(json.dumps(run.outcomes, indent=1))


if __name__ == "__main__":
    main()
