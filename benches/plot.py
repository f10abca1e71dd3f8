#!/usr/bin/env python3
"""Draws the plots of the documents (SVG) from what edge.py, operations.py and `cargo bench` left in target/. Standard library only."""

import argparse
import json
import math
from html import escape
from pathlib import Path

WIDTH, LABEL, BAR, GAP = 760, 200, 16, 6
OURS, THEIRS, INK, PAPER = "#d9622b", "#7a8ca3", "#24292f", "#ffffff"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="target", help="where the figures are")
    parser.add_argument("--folder", default="fixtures/plots", help="where the plots are written")
    options = parser.parse_args()
    target, folder = Path(options.target), Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in {"edge": edge, "operations": operations, "store": store}.items():
        try:
            (folder / f"{name}.svg").write_text(draw(target))
        except FileNotFoundError as error:
            print(f"{name}: no figures ({error.filename})")


def edge(target):
    rows = json.loads((target / "edge.json").read_text())
    groups = [(row["case"], [(float(row["us"]), OURS), (float(row["nginx us"]), THEIRS)]) for row in rows]
    return bars("CPU per request, microseconds", groups, [("ProgImage", OURS), ("nginx, the same bytes as files", THEIRS)])


def operations(target):
    rows = [row for row in json.loads((target / "operations.json").read_text()) if row["ratio"]]
    rows.sort(key=lambda row: -row["ratio"])
    groups = [(row["name"], [(row["ms"], OURS), (row["sharp_ms"], THEIRS)]) for row in rows]
    title = "Operations on 2 megapixels, milliseconds (logarithmic)"
    return bars(title, groups, [("ProgImage", OURS), ("sharp", THEIRS)], logarithmic=True)


def store(target):
    groups = []
    for call in ("put", "duplicate", "get"):
        for writers in (1, 64):
            path = target / f"criterion/store/{call}_{writers}/new/estimates.json"
            us = json.loads(path.read_text())["median"]["point_estimate"] / 1000
            groups.append((f"{call}, {writers} at once", [(us, OURS)]))
    return bars("One call of 100 KB on disk, microseconds (logarithmic)", groups, [("ProgImage", OURS)], logarithmic=True)


def bars(title, groups, legend, logarithmic=False):
    """Groups of horizontal bars, each (label, [(value, colour)])."""
    values = [value for _, bars in groups for value, _ in bars]
    least, most = min(values), max(values)
    room = WIDTH - LABEL - 90
    floor = math.log(least / 2) if logarithmic else 0
    scale = lambda value: room * ((math.log(value) - floor) / (math.log(most) - floor) if logarithmic else value / most)
    parts, y = [text(10, 20, title, weight="bold")], 34
    for x, (name, color) in zip((10, 260), legend):
        parts += [rectangle(x, y, 12, 12, color), text(x + 18, y + 11, name)]
    y += 26
    for label, group in groups:
        parts.append(text(LABEL - 8, y + len(group) * BAR / 2 + 4, label, anchor="end"))
        for value, color in group:
            parts += [rectangle(LABEL, y, max(scale(value), 1), BAR - 2, color)]
            parts.append(text(LABEL + max(scale(value), 1) + 5, y + BAR - 5, f"{value:.3g}", size=11))
            y += BAR
        y += GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 6}" font-family="sans-serif">'
    return "\n".join([head, rectangle(0, 0, WIDTH, y + 6, PAPER), *parts, "</svg>", ""])


def rectangle(x, y, width, height, color):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{color}"/>'


def text(x, y, words, size=12, anchor="start", weight="normal"):
    style = f'font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" fill="{INK}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(words)}</text>'


if __name__ == "__main__":
    main()
