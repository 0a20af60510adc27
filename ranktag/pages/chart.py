"""Lines over a number, as an SVG drawing that stands in a page of ranktag and takes its colours."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, BOTTOM = 640.0, 300.0, 48.0, 34.0
# Lines that are told apart by their hue; further ones are dashed.
HUES = (208, 24, 140, 320, 48, 265, 96, 0)


def colour(number: int) -> str:
    """The colour of a line, readable on light and on dark."""
    return f"hsl({HUES[number % len(HUES)]} 50% 52%)"


def line_chart(lines: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str) -> str:
    """The drawing. lines: label -> its points (x, y), in order, all finite, at least one. x, y: titles of the axes."""
    xs = [point[0] for points in lines.values() for point in points]
    ys = [point[1] for points in lines.values() for point in points]
    left, right = min(xs), max(max(xs), min(xs) + 1)
    ticks = _ticks(min(ys), max(ys))
    low, high = ticks[0], ticks[-1]

    def at(point: tuple[float, float]) -> str:
        across = LEFT + (WIDTH - LEFT - 8) * (point[0] - left) / (right - left)
        return f"{across:.1f},{(HEIGHT - BOTTOM - 8) * (high - point[1]) / (high - low) + 8:.1f}"

    parts = [f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{html.escape(f"{y} by {x}")}">']
    for tick in ticks:
        height = float(at((left, tick)).split(",")[1])
        parts.append(f'<line class="grid" x1="{LEFT:g}" x2="{WIDTH - 8:g}" y1="{height:g}" y2="{height:g}"/>')
        parts.append(f'<text class="axis" x="{LEFT - 6:g}" y="{height + 4:g}" text-anchor="end">{tick:.4g}</text>')
    for end, anchor in ((left, "start"), (right, "end")):
        across = at((end, low)).split(",")[0]
        parts.append(f'<text class="axis" x="{across}" y="{HEIGHT - 16:g}" text-anchor="{anchor}">{end:g}</text>')
    middle = (LEFT + WIDTH) / 2
    parts.append(f'<text class="axis" x="{middle:g}" y="{HEIGHT - 4:g}" text-anchor="middle">{html.escape(x)}</text>')
    for number, (label, points) in enumerate(lines.items()):
        dashed = ' stroke-dasharray="5 4"' if number >= len(HUES) else ""
        path = f'<polyline fill="none" stroke="{colour(number)}" stroke-width="2"{dashed} points="'
        parts.append(path + " ".join(map(at, points)) + f'"><title>{html.escape(label)}</title></polyline>')
    return "\n".join([*parts, "</svg>"])


def _ticks(low: float, high: float) -> list[float]:
    """Some four to seven round numbers from at most ``low`` to at least ``high``."""
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-6) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 5)
    first, last = math.floor(round(low / step, 6)), math.ceil(round(high / step, 6))
    return [n * step for n in range(first, max(last, first + 1) + 1)]
