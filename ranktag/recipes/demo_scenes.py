"""Scenes drawn for the demo: pictures whose objects are known, and the lists that made-up people write about them.

How important object kind k is in a scene follows from what can be seen of it:

    u_k = ln(a_k / 0.01) + 2·c_k + appeal_k

a_k: the share of the picture in which a thing of that kind is seen, so what is
drawn on top of it, or lies outside the frame, does not count. c_k: how central
that is, 1 in the middle of the picture and 0 in its corners. appeal_k: what people
care for (``ranktag.recipes.demo_drawings.KINDS``): people and animals most, then things, then
what stands behind them. A kind seen in less than 0.2% of the picture goes unnoticed.

A person p sees u_kp = u_k + 0.4·g_kp with standard Gumbel noise g, names the kinds
from the highest u_kp down, and stops where it falls more than a patience ~
U(1.5, 3) below the first, at five tags at most. Sorting by utility plus Gumbel noise
is drawing from a Plackett-Luce model, the usual model of how people rank.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from ranktag.config import DemoConfig
from ranktag.recipes.demo_drawings import KINDS, OVERSAMPLING, PLACES, Colour, Pen
from ranktag.tags.lists import TagList, TagLists, write_tag_lists

WIDTH, HEIGHT = 288, 256
LONGEST_LIST = 5
SEEN = 0.002
KINDS_A_SCENE = (2, 3, 4, 5, 6)
KINDS_A_SCENE_CHANCES = (0.15, 0.3, 0.3, 0.15, 0.1)
NOISE = 0.4
PATIENCE = (1.5, 3.0)

# Of every ten scenes in a row, so many are for training, validation and testing.
SPLIT_OF_TEN = ("train",) * 7 + ("val",) + ("test",) * 2


Rng = np.random.Generator


@dataclass(frozen=True)
class Setting:
    """Where a scene takes place.

    paint: (generator, horizon's row) -> background. horizon: its height's range, 0 top to 1 bottom.
    chances: kind -> how likely it is there, relative to the others. light: what it multiplies colours by.
    """

    paint: Callable[[Rng, int], Image.Image]
    horizon: tuple[float, float]
    chances: Mapping[str, float]
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Scene:
    """A drawn scene. importance: u of each kind that is noticed, the most important first."""

    picture: Image.Image
    setting: str
    importance: Mapping[str, float]


def _gradient(rows: int, top: Colour, bottom: Colour) -> npt.NDArray[np.float64]:
    """(rows, WIDTH, 3), from one colour to another."""
    share = np.linspace(0.0, 1.0, rows)[:, None]
    column = (1 - share) * np.array(top) + share * np.array(bottom)
    return np.repeat(column[:, None, :], WIDTH, axis=1)


def _backdrop(rng: Rng, horizon: int, sky: tuple[Colour, Colour], ground: tuple[Colour, Colour]) -> Image.Image:
    """Two gradients that meet at the horizon, a little lighter or darker from scene to scene, with some grain."""
    array = np.concatenate([_gradient(horizon, *sky), _gradient(HEIGHT - horizon, *ground)])
    array *= rng.uniform(0.93, 1.05)
    array += rng.normal(0, 2.5, (HEIGHT, WIDTH, 1))
    return Image.fromarray(array.clip(0, 255).astype(np.uint8))


def _choice(rng: Rng, options: tuple[Any, ...]) -> Any:
    return options[rng.integers(len(options))]


DAY = ((96, 170, 236), (196, 226, 246))
DUSK = ((120, 110, 180), (250, 190, 140))
GREY = ((150, 164, 180), (206, 212, 218))


def _meadow(rng: Rng, horizon: int) -> Image.Image:
    picture = _backdrop(rng, horizon, _choice(rng, (DAY, DAY, DUSK)), ((150, 196, 92), (84, 152, 56)))
    draw = ImageDraw.Draw(picture)
    for _ in range(220):
        x, y = rng.uniform(0, WIDTH), rng.uniform(horizon + 4, HEIGHT)
        length = 2 + 7 * (y - horizon) / (HEIGHT - horizon)
        draw.line(
            [(x, y), (x + rng.uniform(-2, 2), y - length)],
            fill=_choice(rng, ((70, 134, 48), (120, 180, 76), (98, 164, 62))),
        )
    return picture


def _sea(rng: Rng, horizon: int) -> Image.Image:
    picture = _backdrop(rng, horizon, _choice(rng, (DAY, DUSK, GREY)), ((70, 150, 190), (16, 70, 130)))
    draw = ImageDraw.Draw(picture)
    for _ in range(90):
        x, y = rng.uniform(-20, WIDTH), rng.uniform(horizon + 2, HEIGHT)
        width = 6 + 26 * (y - horizon) / (HEIGHT - horizon)
        draw.arc(
            [x, y - width / 6, x + width, y + width / 6],
            200,
            340,
            fill=_choice(rng, ((130, 200, 224), (60, 130, 180), (170, 220, 236))),
        )
    return picture


def _night(rng: Rng, horizon: int) -> Image.Image:
    picture = _backdrop(rng, horizon, ((8, 10, 36), (44, 48, 96)), ((36, 54, 56), (18, 32, 34)))
    draw = ImageDraw.Draw(picture)
    for _ in range(70):
        x, y, r = rng.uniform(0, WIDTH), rng.uniform(0, horizon - 6), rng.uniform(0.3, 1.1)
        draw.ellipse([x - r, y - r, x + r, y + r], fill=(240, 240, 210))
    return picture


def _snow(rng: Rng, horizon: int) -> Image.Image:
    picture = _backdrop(
        rng, horizon, _choice(rng, (GREY, ((150, 190, 226), (220, 232, 242)))), ((226, 234, 244), (248, 250, 254))
    )
    draw = ImageDraw.Draw(picture)
    for _ in range(3):
        x, y, w = rng.uniform(-60, WIDTH), rng.uniform(horizon, HEIGHT), rng.uniform(120, 260)
        draw.chord([x, y, x + w, y + w / 3], 180, 360, fill=(238, 243, 250))
    for _ in range(90):
        x, y, r = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT), rng.uniform(0.6, 1.9)
        draw.ellipse([x - r, y - r, x + r, y + r], fill=(255, 255, 255))
    return picture


def _desert(rng: Rng, horizon: int) -> Image.Image:
    picture = _backdrop(
        rng, horizon, _choice(rng, (((90, 176, 226), (246, 226, 180)), DUSK)), ((238, 200, 130), (212, 156, 84))
    )
    draw = ImageDraw.Draw(picture)
    for _ in range(4):
        x, y, w = rng.uniform(-80, WIDTH), rng.uniform(horizon - 4, HEIGHT - 20), rng.uniform(140, 300)
        draw.chord([x, y, x + w, y + w / 4], 180, 360, fill=_choice(rng, ((244, 208, 140), (226, 176, 104))))
    return picture


def _room(rng: Rng, horizon: int) -> Image.Image:
    wall = _choice(rng, ((206, 190, 170), (190, 200, 180), (214, 186, 180)))
    picture = _backdrop(rng, horizon, (wall, wall), ((170, 112, 66), (142, 88, 48)))
    draw = ImageDraw.Draw(picture)
    for x in range(int(rng.integers(-24, 0)), WIDTH, 24):
        draw.line([(x, 0), (x, horizon)], fill=tuple(round(c * 0.95) for c in wall), width=9)
    for slant in np.linspace(-0.6, 1.6, 12):
        draw.line([(WIDTH * (0.5 + 0.55 * (slant - 0.5)), horizon), (WIDTH * slant, HEIGHT)], fill=(120, 74, 40))
    draw.rectangle([0, horizon - 5, WIDTH, horizon], fill=(244, 240, 232))
    return picture


def _street(rng: Rng, horizon: int) -> Image.Image:
    picture = _backdrop(rng, horizon, _choice(rng, (DAY, GREY, GREY)), ((128, 128, 132), (92, 92, 98)))
    draw = ImageDraw.Draw(picture)
    x = -10.0
    while x < WIDTH:
        width, height = rng.uniform(22, 46), rng.uniform(0.2, 0.62) * horizon
        tone = int(rng.integers(150, 186))
        draw.rectangle([x, horizon - height, x + width, horizon], fill=(tone, tone, tone + 10))
        x += width
    draw.rectangle([0, horizon, WIDTH, horizon + 8], fill=(176, 172, 166))
    middle = horizon + 0.55 * (HEIGHT - horizon)
    for left in range(int(rng.integers(-40, 0)), WIDTH, 60):
        draw.rectangle([left, middle, left + 34, middle + 4], fill=(236, 232, 214))
    return picture


SETTINGS = {
    "meadow": Setting(
        _meadow,
        horizon=(0.42, 0.58),
        chances={
            "person": 5,
            "cat": 2,
            "bird": 2,
            "house": 4,
            "tree": 5,
            "flower": 5,
            "ball": 3,
            "kite": 4,
            "sun": 4,
            "cloud": 4,
            "mountain": 2,
        },
    ),
    "sea": Setting(
        _sea, horizon=(0.34, 0.5), chances={"boat": 9, "fish": 6, "bird": 5, "sun": 4, "cloud": 4, "mountain": 3}
    ),
    "night": Setting(
        _night,
        horizon=(0.5, 0.64),
        chances={"house": 5, "tree": 4, "car": 4, "person": 3, "cat": 4, "moon": 7, "cloud": 2},
        light=(0.62, 0.64, 0.8),
    ),
    "snow": Setting(
        _snow,
        horizon=(0.4, 0.56),
        chances={"person": 5, "tree": 6, "house": 4, "mountain": 6, "bird": 2, "sun": 2, "ball": 1},
    ),
    "desert": Setting(
        _desert, horizon=(0.42, 0.56), chances={"cactus": 8, "car": 4, "sun": 6, "mountain": 4, "bird": 3, "person": 3}
    ),
    "room": Setting(
        _room,
        horizon=(0.56, 0.68),
        chances={"chair": 6, "lamp": 5, "cat": 6, "person": 4, "ball": 4, "flower": 3},
        light=(0.98, 0.94, 0.88),
    ),
    "street": Setting(
        _street,
        horizon=(0.48, 0.6),
        chances={"car": 7, "house": 5, "person": 6, "tree": 3, "cloud": 3, "ball": 2, "cat": 1},
    ),
}


@dataclass(frozen=True)
class _Object:
    """One thing to draw; x (middle), base (lowest point) and height are shares of the picture's width and height."""

    name: str
    x: float
    base: float
    height: float

    @property
    def depth(self) -> tuple[int, float]:
        return PLACES.index(KINDS[self.name].place), self.base


def _place(rng: Rng, name: str, horizon: float, subject: bool) -> _Object:
    kind = KINDS[name]
    x = 0.5 + rng.normal(0, 0.1) if subject else rng.uniform(0.1, 0.9)
    if kind.place == "ground":
        near = rng.uniform(0.55, 0.95) if subject else rng.uniform(0.05, 0.8)
        return _Object(name, x, horizon + (0.12 + 0.86 * near) * (1 - horizon), kind.height * (0.4 + 0.75 * near))
    height = kind.height * (rng.uniform(0.95, 1.35) if subject else rng.uniform(0.5, 1.0))
    if kind.place == "horizon":
        return _Object(name, x, horizon + 0.01, height)
    return _Object(name, x, max(height + 0.02, rng.uniform(0.1, horizon)), height)


def draw_scene(rng: Rng) -> Scene:
    """One scene, from the generator alone."""
    place = list(SETTINGS)[rng.integers(len(SETTINGS))]
    setting = SETTINGS[place]
    horizon = rng.uniform(*setting.horizon)
    names, chances = list(setting.chances), np.array(list(setting.chances.values()), float)
    chosen = rng.choice(
        names, rng.choice(KINDS_A_SCENE, p=KINDS_A_SCENE_CHANCES), replace=False, p=chances / chances.sum()
    )
    objects = [
        _place(rng, str(name), horizon, subject=position == 0 and copy == 0)
        for position, name in enumerate(chosen)
        for copy in range(rng.integers(1, KINDS[str(name)].most + 1))
    ]
    objects.sort(key=lambda o: o.depth)
    picture = setting.paint(rng, round(horizon * HEIGHT))
    seen = np.full((HEIGHT, WIDTH), -1)
    for number, thing in enumerate(objects):
        _draw_object(picture, seen, number, thing, setting.light, rng)
    return Scene(picture, place, importance_of([o.name for o in objects], seen))


def _draw_object(
    picture: Image.Image,
    seen: npt.NDArray[Any],
    number: int,
    thing: _Object,
    light: tuple[float, float, float],
    rng: Rng,
) -> None:
    kind = KINDS[thing.name]
    width, height = round(thing.height * HEIGHT * kind.aspect), round(thing.height * HEIGHT)
    pen = Pen(width, height, rng, light)
    kind.draw(pen)
    layer = pen.layer()
    if rng.random() < 0.5:
        layer = layer.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    left, top = round(thing.x * WIDTH - width / 2), round(thing.base * HEIGHT) - height
    if kind.place == "ground":
        _draw_shadow(picture, left, top + height, width)
    picture.paste(layer, (left, top), layer)
    mask = np.asarray(layer.getchannel("A")) > 127
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + mask.shape[0], HEIGHT), min(left + mask.shape[1], WIDTH)
    if y1 > y0 and x1 > x0:
        seen[y0:y1, x0:x1][mask[y0 - top : y1 - top, x0 - left : x1 - left]] = number


def _draw_shadow(picture: Image.Image, left: int, bottom: int, width: int) -> None:
    height = max(4, width // 7)
    mask = Image.new("L", (width * OVERSAMPLING, height * OVERSAMPLING))
    ImageDraw.Draw(mask).ellipse([0, 0, width * OVERSAMPLING - 1, height * OVERSAMPLING - 1], fill=80)
    picture.paste((20, 24, 40), (left, bottom - height // 2), mask.resize((width, height), Image.Resampling.BOX))


def importance_of(names: Sequence[str], seen: npt.NDArray[Any]) -> dict[str, float]:
    """u of each kind that is noticed (see the module), the highest first, equal ones in alphabetical order.

    names: the kind of each object. seen: (HEIGHT, WIDTH) int, which object is seen at each pixel; -1: the background.
    """
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    middle = 1 - np.hypot((x + 0.5) / WIDTH - 0.5, (y + 0.5) / HEIGHT - 0.5) / np.hypot(0.5, 0.5)
    importance = {}
    for name in sorted(set(names)):
        mask = np.isin(seen, [number for number, other in enumerate(names) if other == name])
        share = mask.mean()
        if share >= SEEN:
            importance[name] = float(np.log(share / 0.01) + 2 * middle[mask].mean() + KINDS[name].appeal)
    return dict(sorted(importance.items(), key=lambda item: -item[1]))


def describe(importance: Mapping[str, float], rng: Rng) -> TagList:
    """The list that one person writes about a scene of which u is given."""
    felt = {name: u + NOISE * rng.gumbel() for name, u in importance.items()}
    patience = rng.uniform(*PATIENCE)
    ranked = sorted(felt, key=lambda name: -felt[name])
    return tuple(name for name in ranked if felt[name] >= felt[ranked[0]] - patience)[:LONGEST_LIST]


def draw_scenes(photos: str | Path, tags: str | Path, config: DemoConfig) -> TagLists:
    """Draw scenes as JPEG files in the folder ``photos`` and write several people's lists about each to ``tags``.

    Scene i depends on the seed and i alone, so the first scenes of a larger set are
    those of a smaller one. The split is SPLIT_OF_TEN, repeated.
    """
    photos = Path(photos)
    photos.mkdir(parents=True, exist_ok=True)
    lists, split = {}, {}
    for number in range(config.scenes):
        rng = np.random.default_rng([config.seed, number])
        scene = draw_scene(rng)
        image_id = f"scene-{number:05d}.jpg"
        scene.picture.save(photos / image_id, quality=92)
        lists[image_id] = [describe(scene.importance, rng) for _ in range(config.people)]
        split[image_id] = SPLIT_OF_TEN[number % len(SPLIT_OF_TEN)]
    tag_lists = TagLists(lists, split)
    write_tag_lists(Path(tags), tag_lists)
    return tag_lists
