# SPDX-License-Identifier: Apache-2.0
"""`python3 -m tests.bench.plot`: docs/growth.svg of build/bench.json: an epilog's time by its number of containers."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path

from tests.labs.compose import ROOT

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 56, 150, 20, 44
SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)
STYLE = """text { font: 13px sans-serif; fill: #333 } .grid { stroke: #ddd } .ours { stroke: #0b6bcb; fill: #0b6bcb }
.against { stroke: #b4540a; fill: #b4540a } path { fill: none !important; stroke-width: 2 } .name { stroke: none }
@media (prefers-color-scheme: dark) { text { fill: #ccc } .grid { stroke: #444 }
.ours { stroke: #6cb2ff; fill: #6cb2ff } .against { stroke: #f0a060; fill: #f0a060 } }"""
LINES = {"ours": "the Epilog", "against": "docker rm -f of them"}


def points(figures: list[dict[str, float | str]]) -> dict[str, list[tuple[int, float]]]:
    """side → (containers, seconds), in the order of the former."""
    found: dict[str, list[tuple[int, float]]] = {side: [] for side in LINES}
    for figure in figures:
        if named := re.fullmatch(r"epilog of (\d+) / docker rm -f of \1", str(figure["name"])):
            for side, line in found.items():
                line.append((int(named[1]), float(figure[side])))
    return {side: sorted(line) for side, line in found.items()}


def drawn(lines: dict[str, list[tuple[int, float]]]) -> str:
    """The plot, both axes logarithmic; an SVG document."""
    numbers = [number for number, _ in lines["ours"]]
    all_seconds = [seconds for line in lines.values() for _, seconds in line]
    ticks = [tick for tick in SECONDS if min(all_seconds) / 2 <= tick <= max(all_seconds) * 2]

    def x(number: float) -> float:
        return LEFT + math.log(number / numbers[0]) / math.log(numbers[-1] / numbers[0]) * (WIDTH - LEFT - RIGHT)

    def y(seconds: float) -> float:
        return HEIGHT - BOTTOM - math.log(seconds / ticks[0]) / math.log(ticks[-1] / ticks[0]) * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        "<title>Seconds of an Epilog by the number of containers that run, beside docker rm -f</title>",
        f"<style>{STYLE}</style>",
    ]
    for tick in ticks:
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g} s</text>')
    for number in numbers:
        parts.append(f'<text x="{x(number):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{number}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">containers</text>')
    # Their names stand beside the last points, which may be close: the upper one's above.
    above = max(lines, key=lambda side: lines[side][-1][1])
    for side, line in lines.items():
        way = " L ".join(f"{x(number):.1f} {y(seconds):.1f}" for number, seconds in line)
        parts.append(f'<path class="{side}" d="M {way}"/>')
        parts += [f'<circle class="{side}" cx="{x(n):.1f}" cy="{y(s):.1f}" r="3"/>' for n, s in line]
        at = y(line[-1][1]) + (-6 if side == above else 16)
        parts.append(f'<text class="{side} name" x="{WIDTH - RIGHT + 8}" y="{at:.1f}">{LINES[side]}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main() -> int:
    """The exit status."""
    lines = points(json.loads((Path(ROOT) / "build/bench.json").read_text()))
    if len(lines["ours"]) < 2:
        print("build/bench.json has not two figures of epilogs: run make bench first", file=sys.stderr)
        return 1
    (Path(ROOT) / "docs/growth.svg").write_text(drawn(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
