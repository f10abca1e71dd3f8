#!/usr/bin/env python3
"""Inks of CMYK profiles as ProgImage and lcms2 show them: perceptual intent with black point compensation.

`inks.py BINARY PROFILE...` prints the largest difference of any channel for each profile. Needs Pillow.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageCms

INKS = [
    (0, 0, 0, 0), (255, 255, 255, 255), (0, 0, 0, 255), (255, 255, 255, 0),
    (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 255, 255, 0),
    (255, 128, 0, 51), (51, 38, 38, 0), (128, 102, 102, 20), (200, 180, 170, 128),
    (191, 173, 166, 230), (20, 230, 60, 100),
]


def ours(binary, sheet, profile, folder):
    source, target = folder / "sheet.tif", folder / "sheet.png"
    sheet.save(source, icc_profile=profile.read_bytes(), compression="raw")
    subprocess.run([binary, "render", source, target, "metadata=none"], check=True)
    return list(Image.open(target).convert("RGB").getdata())


def reference(sheet, profile):
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.HIGHRESPRECALC
    transform = ImageCms.buildTransform(
        str(profile), ImageCms.createProfile("sRGB"), "CMYK", "RGB", ImageCms.Intent.PERCEPTUAL, flags
    )
    return list(ImageCms.applyTransform(sheet, transform).getdata())


def main(binary, *profiles):
    sheet = Image.new("CMYK", (len(INKS), 1))
    sheet.putdata(INKS)
    with tempfile.TemporaryDirectory() as folder:
        for profile in map(Path, profiles):
            left, right = ours(binary, sheet, profile, Path(folder)), reference(sheet, profile)
            most = max(abs(a - b) for pixel, other in zip(left, right) for a, b in zip(pixel, other))
            print(f"{profile.name}: {most} of 255; paper {left[0]}, full ink {left[1]} (lcms2 {right[1]})")


if __name__ == "__main__":
    main(*sys.argv[1:])
