"""Drawings of the kinds of object that the demo's scenes are made of: each is drawn on a transparent layer of its own.

A drawing works in its own box: x and y run from 0 to 1, left to right and top to
bottom, whatever the size of the layer in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]


Point = tuple[float, float]


# Drawn so many times larger and shrunk, so that edges are smooth.
OVERSAMPLING = 2
INK = (40, 36, 44)
WHITE = (250, 249, 245)
SKIN = ((247, 212, 182), (226, 176, 138), (178, 122, 86), (118, 78, 56))
HAIR = ((44, 32, 28), (94, 58, 32), (206, 160, 84), (150, 66, 36))


def shade(colour: Colour, factor: float) -> Colour:
    """``colour`` made darker (factor below 1) or lighter."""
    r, g, b = (min(255, max(0, round(c * factor))) for c in colour)
    return r, g, b


class Pen:
    """Draws on one object's layer, which is ``width`` × ``height`` pixels once shrunk.

    light: what the colours' red, green and blue are multiplied by, as at night.
    """

    def __init__(
        self, width: int, height: int, rng: np.random.Generator, light: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ) -> None:
        self._size = (max(2, width), max(2, height))
        self._scale = (self._size[0] * OVERSAMPLING, self._size[1] * OVERSAMPLING)
        self._layer = Image.new("RGBA", self._scale)
        self._draw = ImageDraw.Draw(self._layer)
        self._light = light
        self.rng = rng

    def layer(self) -> Image.Image:
        """The finished RGBA layer."""
        return self._layer.resize(self._size, Image.Resampling.BOX)

    def pick(self, colours: Sequence[Colour], spread: float = 0.08) -> Colour:
        """One of ``colours``, a little lighter or darker."""
        return shade(colours[int(self.rng.integers(len(colours)))], 1 + spread * self.rng.uniform(-1, 1))

    def glow(self, colour: Colour) -> Colour:
        """The colour that looks like ``colour`` in this light: of things that shine themselves."""
        r, g, b = (round(c / light) for c, light in zip(colour, self._light))
        return r, g, b

    def _at(self, *points: Point) -> list[Point]:
        return [(x * self._scale[0], y * self._scale[1]) for x, y in points]

    def _lit(self, colour: Colour) -> Colour:
        r, g, b = (min(255, round(c * light)) for c, light in zip(colour, self._light))
        return r, g, b

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self._draw.polygon(self._at(*points), fill=self._lit(colour))

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self._draw.rectangle(self._at((left, top), (right, bottom)), fill=self._lit(colour))

    def oval(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self._draw.ellipse(self._at((left, top), (right, bottom)), fill=self._lit(colour))

    def slice(
        self, left: float, top: float, right: float, bottom: float, start: float, end: float, colour: Colour
    ) -> None:
        """A pie slice of the ellipse in that box, in degrees clockwise from three o'clock."""
        self._draw.pieslice(self._at((left, top), (right, bottom)), start, end, fill=self._lit(colour))

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """``width`` is a share of the layer's width."""
        self._draw.line(
            self._at(*points), fill=self._lit(colour), width=max(1, round(width * self._scale[0])), joint="curve"
        )

    def erase_oval(self, left: float, top: float, right: float, bottom: float) -> None:
        """Make an ellipse transparent again."""
        self._draw.ellipse(self._at((left, top), (right, bottom)), fill=(0, 0, 0, 0))


def person(pen: Pen) -> None:
    shirt = pen.pick(((214, 46, 50), (232, 94, 36), (190, 30, 92), (236, 190, 50), (60, 150, 150)))
    trousers = pen.pick(((46, 62, 118), (70, 60, 60), (40, 90, 110), (150, 120, 84)))
    skin, hair = pen.pick(SKIN, 0.03), pen.pick(HAIR)
    stride = pen.rng.uniform(0.0, 0.12)
    for side in (-1, 1):
        pen.line([(0.5 + 0.1 * side, 0.6), (0.5 + (0.12 + stride) * side, 0.96)], 0.19, trousers)
        pen.oval(0.5 + (0.12 + stride) * side - 0.12, 0.94, 0.5 + (0.12 + stride) * side + 0.14, 1.0, INK)
    raised = pen.rng.random() < 0.3
    for side, up in ((-1, False), (1, raised)):
        hand = (0.5 + 0.4 * side, 0.12 if up else 0.56)
        pen.line([(0.5 + 0.2 * side, 0.3), (0.5 + 0.38 * side, 0.3 if up else 0.42), hand], 0.13, shade(shirt, 0.85))
        pen.oval(hand[0] - 0.08, hand[1] - 0.03, hand[0] + 0.08, hand[1] + 0.04, skin)
    if pen.rng.random() < 0.5:
        pen.oval(0.24, 0.0, 0.76, 0.34, hair)
    pen.polygon([(0.26, 0.26), (0.74, 0.26), (0.7, 0.64), (0.3, 0.64)], shirt)
    pen.oval(0.24, 0.22, 0.76, 0.36, shirt)
    pen.box(0.44, 0.16, 0.56, 0.25, shade(skin, 0.9))
    pen.oval(0.3, 0.0, 0.7, 0.17, hair)
    pen.oval(0.32, 0.035, 0.68, 0.2, skin)
    for x in (0.42, 0.56):
        pen.oval(x, 0.095, x + 0.05, 0.118, INK)
    pen.slice(0.42, 0.12, 0.58, 0.175, 20, 160, (170, 60, 60))


def cat(pen: Pen) -> None:
    fur = pen.pick(((240, 150, 48), (226, 128, 34), (250, 172, 80), (124, 120, 126), (70, 62, 66)))
    dark = shade(fur, 0.72)
    pen.line([(0.72, 0.84), (0.93, 0.78), (0.95, 0.5), (0.86, 0.34)], 0.09, dark)
    pen.oval(0.3, 0.4, 0.82, 1.0, fur)
    for y in (0.52, 0.64, 0.76):
        pen.line([(0.66, y), (0.8, y + 0.04)], 0.035, dark)
    for x in (0.3, 0.48):
        pen.oval(x, 0.86, x + 0.18, 1.0, shade(fur, 1.12))
    for x, tip in ((0.1, 0.12), (0.44, 0.6)):
        pen.polygon([(x, 0.28), (tip, 0.0), (x + 0.2, 0.18)], dark)
    pen.oval(0.06, 0.1, 0.66, 0.56, fur)
    for x in (0.2, 0.44):
        pen.oval(x, 0.25, x + 0.1, 0.37, (120, 190, 70))
        pen.oval(x + 0.03, 0.25, x + 0.07, 0.37, INK)
    pen.polygon([(0.32, 0.38), (0.42, 0.38), (0.37, 0.43)], (214, 96, 104))
    for side in (-1, 1):
        for y in (0.42, 0.47):
            pen.line([(0.37 + 0.08 * side, 0.43), (0.37 + 0.36 * side, y)], 0.012, INK)


def bird(pen: Pen) -> None:
    body = pen.pick(((38, 44, 60), (60, 50, 70), (30, 60, 96)))
    lift = pen.rng.uniform(0.0, 0.25)
    pen.polygon([(0.42, 0.55), (0.0, lift), (0.28, 0.72)], shade(body, 0.8))
    pen.polygon([(0.46, 0.52), (0.98, lift * 0.7), (0.7, 0.72)], shade(body, 1.3))
    pen.polygon([(0.2, 0.7), (0.02, 0.88), (0.26, 0.9)], body)
    pen.oval(0.16, 0.5, 0.72, 0.9, body)
    pen.oval(0.6, 0.42, 0.86, 0.74, body)
    pen.polygon([(0.84, 0.54), (1.0, 0.6), (0.84, 0.66)], (240, 170, 40))
    pen.oval(0.72, 0.5, 0.78, 0.58, WHITE)


def fish(pen: Pen) -> None:
    scales = pen.pick(((250, 110, 120), (255, 138, 92), (246, 86, 140), (250, 190, 60), (110, 200, 120)))
    fin = shade(scales, 0.75)
    pen.polygon([(0.28, 0.5), (0.0, 0.12), (0.08, 0.5), (0.0, 0.9)], fin)
    pen.polygon([(0.4, 0.25), (0.56, 0.0), (0.74, 0.22)], fin)
    pen.polygon([(0.48, 0.8), (0.54, 1.0), (0.66, 0.78)], fin)
    pen.oval(0.18, 0.12, 1.0, 0.88, scales)
    for x in (0.4, 0.52, 0.64):
        pen.line([(x, 0.24), (x - 0.05, 0.5), (x, 0.76)], 0.03, shade(scales, 1.25))
    pen.oval(0.8, 0.32, 0.9, 0.5, WHITE)
    pen.oval(0.84, 0.36, 0.89, 0.46, INK)
    pen.line([(0.9, 0.64), (0.98, 0.58)], 0.02, INK)


def house(pen: Pen) -> None:
    wall = pen.pick(((240, 222, 180), (236, 206, 160), (246, 236, 208), (206, 216, 224), (226, 170, 150)))
    roof = pen.pick(((160, 56, 44), (138, 48, 50), (178, 78, 50), (84, 84, 100)))
    pen.box(0.72, 0.06, 0.82, 0.34, shade(roof, 0.7))
    pen.box(0.08, 0.4, 0.92, 1.0, wall)
    pen.box(0.08, 0.4, 0.92, 0.46, shade(wall, 0.8))
    pen.polygon([(0.0, 0.44), (0.5, 0.02), (1.0, 0.44)], roof)
    for y in (0.18, 0.27, 0.36):
        pen.line([(0.5 - (y - 0.02) * 1.15, y), (0.5 + (y - 0.02) * 1.15, y)], 0.01, shade(roof, 0.8))
    pen.box(0.42, 0.64, 0.6, 1.0, pen.pick(((96, 60, 38), (44, 84, 70), (60, 66, 110))))
    pen.oval(0.55, 0.81, 0.58, 0.85, (240, 200, 90))
    for x in (0.15, 0.68):
        pen.box(x, 0.54, x + 0.19, 0.76, WHITE)
        pen.box(x + 0.02, 0.56, x + 0.17, 0.74, pen.glow((255, 214, 110)))
        pen.line([(x + 0.095, 0.54), (x + 0.095, 0.76)], 0.015, WHITE)
        pen.line([(x, 0.65), (x + 0.19, 0.65)], 0.015, WHITE)


def tree(pen: Pen) -> None:
    leaf = pen.pick(((34, 110, 44), (46, 126, 50), (24, 92, 56)))
    pen.polygon([(0.43, 1.0), (0.46, 0.5), (0.54, 0.5), (0.58, 1.0)], (104, 70, 42))
    if pen.rng.random() < 0.5:
        for top, bottom, half in ((0.42, 0.86, 0.44), (0.2, 0.62, 0.36), (0.0, 0.38, 0.26)):
            pen.polygon([(0.5, top), (0.5 + half, bottom), (0.5 - half, bottom)], leaf)
            pen.polygon([(0.5, top), (0.5, bottom), (0.5 - half, bottom)], shade(leaf, 1.18))
    else:
        for x, y, r in ((0.3, 0.42, 0.28), (0.7, 0.44, 0.28), (0.5, 0.26, 0.3), (0.5, 0.5, 0.26)):
            pen.oval(x - r, y - 0.74 * r, x + r, y + 0.74 * r, leaf)
        for _ in range(14):
            x, y = pen.rng.uniform(0.18, 0.82), pen.rng.uniform(0.14, 0.58)
            pen.oval(x - 0.06, y - 0.04, x + 0.06, y + 0.04, shade(leaf, 1.2))


def car(pen: Pen) -> None:
    paint = pen.pick(((36, 92, 200), (24, 120, 214), (196, 40, 48), (240, 190, 40), (60, 140, 90)))
    pen.polygon([(0.2, 0.48), (0.32, 0.1), (0.7, 0.1), (0.84, 0.48)], shade(paint, 0.85))
    pen.polygon([(0.27, 0.46), (0.36, 0.18), (0.5, 0.18), (0.5, 0.46)], (196, 226, 238))
    pen.polygon([(0.54, 0.46), (0.54, 0.18), (0.67, 0.18), (0.77, 0.46)], (196, 226, 238))
    pen.oval(0.0, 0.42, 0.2, 0.84, paint)
    pen.oval(0.8, 0.44, 1.0, 0.84, paint)
    pen.box(0.08, 0.43, 0.92, 0.84, paint)
    pen.box(0.02, 0.68, 0.98, 0.74, shade(paint, 0.7))
    pen.oval(0.92, 0.5, 0.99, 0.64, pen.glow((255, 236, 150)))
    pen.box(0.01, 0.52, 0.05, 0.62, (220, 40, 40))
    pen.box(0.55, 0.52, 0.62, 0.55, shade(paint, 0.6))
    for x in (0.24, 0.76):
        pen.oval(x - 0.13, 0.6, x + 0.13, 1.0, INK)
        pen.oval(x - 0.065, 0.7, x + 0.065, 0.9, (190, 190, 196))


def boat(pen: Pen) -> None:
    hull = pen.pick(((150, 40, 40), (120, 66, 36), (172, 52, 30), (40, 60, 110)))
    sail = pen.pick((WHITE, (255, 240, 214), (246, 250, 255)), 0.02)
    pen.box(0.47, 0.0, 0.5, 0.78, (92, 62, 40))
    pen.polygon([(0.52, 0.04), (0.96, 0.66), (0.52, 0.7)], sail)
    pen.polygon([(0.45, 0.12), (0.45, 0.7), (0.1, 0.66)], shade(sail, 0.86))
    pen.polygon([(0.5, 0.0), (0.34, 0.03), (0.5, 0.07)], (230, 50, 50))
    pen.polygon([(0.0, 0.74), (1.0, 0.74), (0.84, 1.0), (0.16, 1.0)], hull)
    pen.polygon([(0.0, 0.74), (1.0, 0.74), (0.97, 0.79), (0.03, 0.79)], shade(hull, 1.5))


def flower(pen: Pen) -> None:
    petal = pen.pick(((236, 60, 170), (220, 80, 210), (250, 100, 180), (236, 60, 60), (250, 250, 250)))
    pen.line([(0.5, 0.4), (0.47, 0.7), (0.5, 1.0)], 0.07, (50, 130, 50))
    pen.oval(0.5, 0.68, 0.86, 0.8, (60, 150, 60))
    pen.oval(0.14, 0.76, 0.5, 0.88, (50, 136, 56))
    for turn in np.arange(7) * 2 * np.pi / 7:
        x, y = 0.5 + 0.28 * np.cos(turn), 0.3 + 0.17 * np.sin(turn)
        pen.oval(x - 0.21, y - 0.125, x + 0.21, y + 0.125, shade(petal, 0.9 + 0.1 * np.cos(turn)))
    pen.oval(0.32, 0.2, 0.68, 0.41, (255, 206, 50))


def ball(pen: Pen) -> None:
    colours = [(240, 60, 50), WHITE, (255, 210, 40), WHITE, (40, 120, 220), WHITE]
    start = pen.rng.uniform(0, 60)
    for number, colour in enumerate(colours):
        pen.slice(0.0, 0.0, 1.0, 1.0, start + 60 * number, start + 60 * (number + 1), colour)
    pen.oval(0.38, 0.38, 0.62, 0.62, WHITE)
    pen.oval(0.2, 0.14, 0.38, 0.3, (255, 255, 255))


def kite(pen: Pen) -> None:
    one, two = pen.pick(((120, 50, 190), (96, 60, 210), (220, 50, 70))), pen.pick(((60, 220, 200), (90, 236, 160)))
    pen.line([(0.5, 0.62), (0.58, 0.74), (0.44, 0.86), (0.54, 1.0)], 0.025, INK)
    for x, y in ((0.57, 0.74), (0.45, 0.86)):
        pen.polygon([(x - 0.1, y - 0.03), (x + 0.1, y + 0.03), (x + 0.1, y - 0.03), (x - 0.1, y + 0.03)], two)
    pen.polygon([(0.5, 0.0), (0.5, 0.64), (0.02, 0.24)], one)
    pen.polygon([(0.5, 0.0), (0.98, 0.24), (0.5, 0.64)], shade(one, 1.3))
    pen.polygon([(0.5, 0.24), (0.98, 0.24), (0.5, 0.64)], two)
    pen.polygon([(0.5, 0.0), (0.5, 0.24), (0.02, 0.24)], shade(two, 0.9))


def sun(pen: Pen) -> None:
    glow = pen.pick(((255, 222, 60), (255, 206, 40), (255, 190, 60)), 0.03)
    for turn in np.arange(12) * np.pi / 6:
        c, s = np.cos(turn), np.sin(turn)
        pen.polygon(
            [(0.5 + 0.5 * c, 0.5 + 0.5 * s), (0.5 + 0.33 * c - 0.09 * s, 0.5 + 0.33 * s + 0.09 * c),
             (0.5 + 0.33 * c + 0.09 * s, 0.5 + 0.33 * s - 0.09 * c)],
            glow,
        )  # fmt: skip
    pen.oval(0.18, 0.18, 0.82, 0.82, shade(glow, 0.95))
    pen.oval(0.24, 0.22, 0.72, 0.7, shade(glow, 1.15))


def moon(pen: Pen) -> None:
    pen.oval(0.0, 0.0, 1.0, 1.0, pen.glow(pen.pick(((246, 244, 214), (236, 240, 250)), 0.02)))
    if pen.rng.random() < 0.5:
        pen.erase_oval(0.3, -0.12, 1.16, 0.88)
    else:
        for x, y, r in ((0.32, 0.3, 0.1), (0.64, 0.42, 0.14), (0.4, 0.7, 0.09)):
            pen.oval(x - r, y - r, x + r, y + r, pen.glow((214, 212, 190)))


def cloud(pen: Pen) -> None:
    white = pen.pick(((252, 252, 255), (238, 240, 246)), 0.02)
    puffs = ((0.22, 0.66, 0.2), (0.42, 0.42, 0.24), (0.62, 0.5, 0.22), (0.8, 0.68, 0.19))
    for x, y, r in puffs:
        pen.oval(x - r, y - 1.6 * r + 0.06, x + r, min(1.0, y + 1.6 * r), shade(white, 0.86))
    for x, y, r in puffs:
        pen.oval(x - r, y - 1.6 * r, x + r, min(0.9, y + 1.3 * r), white)


def mountain(pen: Pen) -> None:
    rock = pen.pick(((112, 104, 120), (120, 100, 96), (92, 98, 118)))
    peak = pen.rng.uniform(0.38, 0.62)
    pen.polygon([(0.0, 1.0), (peak, 0.0), (1.0, 1.0)], rock)
    pen.polygon([(peak, 0.0), (1.0, 1.0), (peak + 0.06, 1.0), (peak - 0.05, 0.5)], shade(rock, 0.74))
    left, right = (1 - 0.32) * peak, peak + 0.32 * (1 - peak)
    pen.polygon(
        [(peak, 0.0), (right, 0.32), (peak + 0.07, 0.24), (peak, 0.36), (peak - 0.07, 0.24), (left, 0.32)],
        (246, 248, 252),
    )


def cactus(pen: Pen) -> None:
    green = pen.pick(((70, 150, 70), (90, 160, 60), (56, 136, 84)))
    for x, bend, top in ((0.12, 0.62, 0.3), (0.88, 0.52, 0.18)):
        pen.line([(0.5, bend), (x, bend), (x, top)], 0.2, green)
        pen.oval(x - 0.1, top - 0.05, x + 0.1, top + 0.05, green)
        pen.oval(x - 0.1, bend - 0.055, x + 0.1, bend + 0.055, green)
    pen.oval(0.34, 0.0, 0.66, 0.24, green)
    pen.box(0.34, 0.12, 0.66, 1.0, green)
    for x in (0.42, 0.5, 0.58):
        pen.line([(x, 0.07), (x, 1.0)], 0.02, shade(green, 0.75))
    pen.oval(0.42, 0.0, 0.58, 0.07, (240, 90, 140))


def lamp(pen: Pen) -> None:
    pen.box(0.45, 0.3, 0.55, 0.96, INK)
    pen.oval(0.2, 0.93, 0.8, 1.0, INK)
    pen.polygon(
        [(0.25, 0.0), (0.75, 0.0), (1.0, 0.34), (0.0, 0.34)],
        pen.glow(pen.pick(((255, 236, 130), (255, 226, 100)), 0.03)),
    )
    pen.polygon([(0.25, 0.0), (0.4, 0.0), (0.26, 0.34), (0.0, 0.34)], pen.glow((255, 248, 200)))


def chair(pen: Pen) -> None:
    cloth = pen.pick(((20, 130, 120), (30, 146, 136), (150, 50, 60), (70, 80, 140)))
    for x in (0.12, 0.8):
        pen.box(x, 0.85, x + 0.08, 1.0, (84, 56, 36))
    pen.oval(0.14, 0.0, 0.86, 0.5, cloth)
    pen.box(0.14, 0.22, 0.86, 0.7, cloth)
    pen.box(0.18, 0.54, 0.82, 0.72, shade(cloth, 1.3))
    pen.box(0.06, 0.7, 0.94, 0.88, shade(cloth, 0.85))
    for x in (0.0, 0.8):
        pen.oval(x, 0.4, x + 0.2, 0.6, shade(cloth, 1.15))
        pen.box(x, 0.5, x + 0.2, 0.88, shade(cloth, 1.1))


@dataclass(frozen=True)
class Kind:
    """A kind of object.

    aspect: width over height. height: share of the picture's height when near.
    appeal: what being of this kind adds to its importance. place: one of PLACES.
    most: how many there are at most in a scene.
    """

    draw: Callable[[Pen], None]
    aspect: float
    height: float
    appeal: float
    place: str = "ground"
    most: int = 1


# From the farthest to the nearest: things of one place hide those of the places before it.
PLACES = ("heaven", "horizon", "sky", "ground", "air")

# Tag -> what it stands for. People and animals matter more than things, things more than what is behind them.
KINDS = {
    "person": Kind(person, 0.42, 0.62, 1.2, most=2),
    "cat": Kind(cat, 1.0, 0.34, 1.0),
    "bird": Kind(bird, 1.5, 0.2, 0.9, "air", most=3),
    "fish": Kind(fish, 1.6, 0.24, 0.9, most=3),
    "house": Kind(house, 1.1, 0.56, 0.3),
    "tree": Kind(tree, 0.74, 0.7, 0.0, most=3),
    "car": Kind(car, 2.0, 0.3, 0.5),
    "boat": Kind(boat, 0.95, 0.6, 0.5),
    "flower": Kind(flower, 0.6, 0.32, 0.3, most=5),
    "ball": Kind(ball, 1.0, 0.22, 0.6),
    "kite": Kind(kite, 0.62, 0.36, 0.6, "air"),
    "sun": Kind(sun, 1.0, 0.3, -0.3, "heaven"),
    "moon": Kind(moon, 1.0, 0.24, 0.0, "heaven"),
    "cloud": Kind(cloud, 2.0, 0.2, -0.6, "sky", most=3),
    "mountain": Kind(mountain, 1.7, 0.42, -0.4, "horizon", most=2),
    "cactus": Kind(cactus, 0.6, 0.5, 0.2, most=3),
    "lamp": Kind(lamp, 0.4, 0.62, 0.1),
    "chair": Kind(chair, 0.9, 0.46, 0.2),
}
