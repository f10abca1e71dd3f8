#!/usr/bin/env python3
"""Uploads the photographs below a folder, compares the originals byte for byte, converts each to every output format and opens
each result with Pillow: size and orientation as the source's, and a bounded mean difference to it. Writes a contact sheet.
Gray is compared with the luminance of the source in linear light, a scaled result with the source scaled in linear light.

Pillow and numpy are used by the interpreter given by --python (a virtual environment), else by the running one.
"""

import io
import os
import sys
from pathlib import Path

from lib_server import Server, arguments, finish, folder, table, upload

OUTPUTS = "webp jpg jpeg png avif gif tiff tif bmp ico qoi ppm pgm pnm tga".split()
LOSSLESS = {"png", "tiff", "tif", "bmp", "qoi", "ppm", "pnm", "tga"}
GRAY = {"pgm"}
ICO_SIDE_PX_MAX = 256
COMPARED_SIDE_PX = 256  # differences are taken of pictures scaled down to this: what an eye would see, not noise of a codec
THUMB_PX = 120
# Mean absolute difference of 0..255 samples after scaling down. GIF has 256 colours.
DIFFERENCE_MAX = {"lossless": 1.0, "lossy": 4.0, "scaled": 5.0, "gif": 8.0}
SOURCES = {".jpg", ".jpeg", ".png", ".webp", ".avif"}


def main():
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--folder", default="../shared/corpus/photos", help="the photographs")
    parser.add_argument("--python", help="an interpreter that has Pillow and numpy")
    parser.add_argument("--sheet", default="target/photos.png", help="where the contact sheet is written")
    parser.add_argument("--side-px-max", type=int, default=0, help="of lossless results of large photographs; 0: full size")
    options = parser.parse_args()
    if options.python and not os.environ.get("PROGIMAGE_PHOTOS_CHILD"):
        os.environ["PROGIMAGE_PHOTOS_CHILD"] = "1"
        os.execv(options.python, [options.python, *sys.argv])
    try:
        import numpy  # noqa: F401
        import PIL
    except ImportError:
        sys.exit("Pillow or numpy is missing: python3 -m venv target/venv && target/venv/bin/pip install pillow numpy, then --python target/venv/bin/python")
    files = sorted(path for path in Path(options.folder).rglob("*") if path.suffix.lower() in SOURCES)
    if not files:
        finish([f"no photographs below {options.folder}"])
    with folder() as root, Server(options.binary, f"{root}/data", log=f"{root}/log") as server:
        run = Run(server, options)
        for file in files:
            run.photo(file)
    sheet(run.thumbs, Path(options.sheet))
    print(f"{len(files)} files, Pillow {PIL.__version__}; contact sheet: {options.sheet}")
    rows = [(ext, *counts, f"{worst:.2f}") for ext, (*counts, worst) in run.formats.items()]
    table(rows, ("format", "checked", "not checked", "worst difference"))
    for reason in sorted(run.unchecked):
        print(f"not checked: {reason}")
    finish(run.violations)


class Run:
    def __init__(self, server, options):
        self.server, self.options = server, options
        self.formats = {ext: [0, 0, 0.0] for ext in OUTPUTS}
        self.thumbs, self.unchecked, self.violations = [], set(), []

    def photo(self, file):
        body = file.read_bytes()
        connection = self.server.connect()
        status, digest = upload(connection, body)
        connection.close()
        if digest is None:
            self.violations.append(f"{file}: the upload is answered {status}")
            return
        status, headers, answer = self.server.request("GET", f"/images/{digest}")
        if status != 200 or answer != body:
            self.violations.append(f"{file}: the original is not what was sent ({status}, {len(answer)} bytes)")
        if headers.get("etag") != f'"{digest}"':
            self.violations.append(f"{file}: ETag {headers.get('etag')}")
        source, reason = opened(body)
        if source is None:
            self.unchecked.add(f"{file.name} as a source: {reason}")
        row = [(file.name, source)]
        for ext in OUTPUTS:
            row.append((ext, self.output(file, digest, ext, source)))
        self.thumbs.append([(label, thumb(picture)) for label, picture in row])

    def output(self, file, digest, ext, source):
        query = f"?w={self.options.side_px_max}" if self.options.side_px_max and ext in LOSSLESS else ""
        status, _, body = self.server.request("GET", f"/images/{digest}.{ext}{query}", timeout=300)
        if status != 200:
            self.violations.append(f"{file} .{ext}: {status} {body[:300]}")
            return None
        result, reason = opened(body)
        if result is None:
            if "no decoder" in reason:
                self.unchecked.add(f".{ext}: {reason}")
            else:
                self.violations.append(f"{file} .{ext}: does not open: {reason}")
        if source is None or result is None:
            self.formats[ext][1] += 1
            return result
        self.compare(file, ext, source, result)
        return result

    def compare(self, file, ext, source, result):
        counts = self.formats[ext]
        expected = expected_size(source.size, ext, self.options.side_px_max)
        if any(abs(have - want) > (0 if expected == source.size else 1) for have, want in zip(result.size, expected)):
            self.violations.append(f"{file} .{ext}: {result.size}, expected {expected}")
            return
        kind = "gif" if ext == "gif" else "lossless" if ext in LOSSLESS else "lossy"
        apart = difference(source, result, ext in GRAY)
        counts[0] += 1
        counts[2] = max(counts[2], apart)
        # A scaled result (every icon of a photograph) went through another resampler than the source did.
        bound = DIFFERENCE_MAX["scaled" if kind != "gif" and expected != source.size else kind]
        if apart > bound:
            self.violations.append(f"{file} .{ext}: differs by {apart:.2f}, at most {bound} is allowed")


def opened(body):
    """(oriented picture in sRGB, None) or (None, why not)."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        picture = Image.open(io.BytesIO(body))
        picture.load()
        picture = ImageOps.exif_transpose(picture)
        return to_srgb(picture), None
    except UnidentifiedImageError:
        kind = "AVIF" if body[4:8] == b"ftyp" else "QOI" if body[:4] == b"qoif" else None
        return (None, f"this Pillow has no decoder of {kind}") if kind else (None, "not recognised by Pillow")
    except (OSError, SyntaxError, ValueError) as error:
        return None, repr(error)


def to_srgb(picture):
    """RGB on white; an embedded profile is applied."""
    from PIL import Image, ImageCms

    profile = picture.info.get("icc_profile")
    if picture.mode in ("P", "PA", "LA", "RGBA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        flat = Image.new("RGBA", rgba.size, "white")
        flat.alpha_composite(rgba)
        picture = flat.convert("RGB")
    if profile and picture.mode in ("RGB", "CMYK", "L"):
        try:
            embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(picture, embedded, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except ImageCms.PyCMSError:
            pass  # a broken profile counts as none
    return picture.convert("RGB")


def expected_size(size, ext, side_px_max):
    """The source's size, scaled down to what the format (or the option) holds."""
    width, height = size
    if ext == "ico":
        scale = min(1, ICO_SIDE_PX_MAX / max(size))
    elif ext in LOSSLESS and side_px_max:
        scale = min(1, side_px_max / width)
    else:
        scale = 1
    return max(1, round(width * scale)), max(1, round(height * scale))


def difference(source, result, gray):
    from PIL import Image, ImageChops, ImageStat

    # A result that was scaled is compared at half its size: a box and a Lanczos kernel differ in the finest detail.
    half = 1 if result.size == source.size else max(result.size) / max(source.size) / 2
    scale = min(1, COMPARED_SIDE_PX / max(source.size), half)
    size = tuple(max(1, round(side * scale)) for side in source.size)
    pictures = [small(picture, size, gray and picture is source) for picture in (source, result)]
    means = ImageStat.Stat(ImageChops.difference(*pictures)).mean
    return sum(means) / len(means)


def small(picture, size, luminance):
    """Scaled by a box in linear light; with `luminance` (ITU-R BT.709) gray."""
    import numpy
    from PIL import Image

    samples = numpy.asarray(picture.convert("RGB"), dtype=numpy.float32) / 255
    linear = numpy.where(samples <= 0.04045, samples / 12.92, ((samples + 0.055) / 1.055) ** 2.4)
    if luminance:
        linear = numpy.repeat(linear @ numpy.array([[0.2126], [0.7152], [0.0722]], numpy.float32), 3, axis=2)
    bands = [Image.fromarray(linear[:, :, band].astype(numpy.float32)).resize(size, Image.Resampling.BOX) for band in range(3)]
    linear = numpy.clip(numpy.stack([numpy.asarray(band) for band in bands], axis=2), 0, 1)
    encoded = numpy.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return Image.fromarray((encoded * 255 + 0.5).astype(numpy.uint8))


def thumb(picture):
    if picture is None:
        return None
    small = picture.copy()
    small.thumbnail((THUMB_PX, THUMB_PX))
    return small


def sheet(rows, path):
    """One row per photograph, one column per format; a missing picture stays gray."""
    from PIL import Image, ImageDraw

    cell = THUMB_PX + 14
    paper = Image.new("RGB", (cell * (len(OUTPUTS) + 1), cell * max(1, len(rows))), (128, 128, 128))
    pen = ImageDraw.Draw(paper)
    for y, row in enumerate(rows):
        for x, (label, picture) in enumerate(row):
            if picture is not None:
                paper.paste(picture, (x * cell, y * cell + 12))
            pen.text((x * cell, y * cell), label[:20], fill="white")
    path.parent.mkdir(parents=True, exist_ok=True)
    paper.save(path)


if __name__ == "__main__":
    main()
