"""The scenes of the demo: what is in them, how important it is, and what people write about it."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ranktag.config import DemoConfig
from ranktag.recipes.demo_drawings import KINDS, PLACES, Pen
from ranktag.recipes.demo_scenes import (
    HEIGHT,
    LONGEST_LIST,
    NOISE,
    SETTINGS,
    WIDTH,
    describe,
    draw_scene,
    draw_scenes,
    importance_of,
)
from ranktag.tags.lists import read_tag_lists

# The mean distance of a unit square's points from its middle, over that of a corner.
MEAN_OFF_CENTRE = (math.sqrt(2) + math.log(1 + math.sqrt(2))) / 6 / math.sqrt(0.5)


def scene_of(number: int, seed: int = 0):
    return draw_scene(np.random.default_rng([seed, number]))


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_drawn_within_its_box_and_fills_a_good_part_of_it(name: str) -> None:
    height = 100
    width = round(height * KINDS[name].aspect)
    pen = Pen(width, height, np.random.default_rng(0))
    KINDS[name].draw(pen)
    layer = np.asarray(pen.layer())
    assert layer.shape == (height, width, 4)
    assert 0.15 < (layer[..., 3] > 127).mean() < 0.95


def test_a_glowing_colour_looks_the_same_in_any_light() -> None:
    pen = Pen(4, 4, np.random.default_rng(0), light=(0.5, 0.5, 0.8))
    pen.box(0, 0, 1, 0.49, (200, 100, 50))
    pen.box(0, 0.5, 1, 1, pen.glow((200, 100, 50)))
    layer = np.asarray(pen.layer())
    assert layer[0, 0].tolist() == [100, 50, 40, 255]
    assert layer[3, 0].tolist() == [200, 100, 50, 255]


def test_settings_hold_only_kinds_that_are_known_and_every_kind_has_a_setting() -> None:
    assert {name for setting in SETTINGS.values() for name in setting.chances} == set(KINDS)
    assert {kind.place for kind in KINDS.values()} <= set(PLACES)


def test_importance_by_hand() -> None:
    everywhere = np.zeros((HEIGHT, WIDTH), int)
    # ln(1 / 0.01) for the area, no appeal.
    assert importance_of(["tree"], everywhere)["tree"] == pytest.approx(
        math.log(100) + 2 * (1 - MEAN_OFF_CENTRE), abs=1e-3
    )
    halves = everywhere.copy()
    halves[:, WIDTH // 2 :] = 1
    both = importance_of(["person", "cat"], halves)
    assert list(both) == ["person", "cat"]
    assert both["person"] - both["cat"] == pytest.approx(KINDS["person"].appeal - KINDS["cat"].appeal)
    # The same kind twice counts as one.
    assert importance_of(["tree", "tree"], halves) == importance_of(["tree"], everywhere)


def test_what_is_hidden_or_tiny_is_not_noticed() -> None:
    seen = np.full((HEIGHT, WIDTH), -1)
    seen[:40, :40] = 1
    seen[100, 100:240] = 2  # 140 of 73,728 pixels: 0.19%
    assert list(importance_of(["house", "car", "bird"], seen)) == ["car"]
    seen[101, 100:110] = 2  # 150 pixels: 0.203%
    assert set(importance_of(["house", "car", "bird"], seen)) == {"car", "bird"}


def test_larger_and_more_central_things_matter_more() -> None:
    corner, middle, large = (np.full((HEIGHT, WIDTH), -1) for _ in range(3))
    corner[:40, :40] = 0
    middle[108:148, 124:164] = 0
    large[:60, :60] = 0
    u = [importance_of(["car"], seen)["car"] for seen in (corner, middle, large)]
    assert u[1] > u[0] and u[2] > u[0]


def test_first_tags_follow_the_plackett_luce_model() -> None:
    """P(first = a) = exp(u_a/s) / (exp(u_a/s) + exp(u_b/s)) with s the scale of the noise; here 3/4."""
    rng = np.random.default_rng(1)
    u = {"cat": NOISE * math.log(3), "dog": 0.0}
    first = Counter(describe(u, rng)[0] for _ in range(4000))
    assert first["cat"] / 4000 == pytest.approx(0.75, abs=0.03)


@given(st.dictionaries(st.text(min_size=1), st.floats(-10, 10), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_a_list_names_one_to_five_kinds_once(u: dict[str, float], seed: int) -> None:
    tags = describe(u, np.random.default_rng(seed))
    assert 1 <= len(tags) <= LONGEST_LIST
    assert len(set(tags)) == len(tags) and set(tags) <= set(u)


def test_what_matters_far_less_is_not_named() -> None:
    rng = np.random.default_rng(2)
    assert all(describe({"person": 20.0, "cloud": 0.0}, rng) == ("person",) for _ in range(200))


def test_scenes_vary_and_always_hold_something() -> None:
    scenes = [scene_of(number) for number in range(60)]
    assert all(scene.importance for scene in scenes)
    assert all(scene.picture.size == (WIDTH, HEIGHT) and scene.picture.mode == "RGB" for scene in scenes)
    assert {scene.setting for scene in scenes} == set(SETTINGS)
    assert all(set(scene.importance) <= set(SETTINGS[scene.setting].chances) for scene in scenes)
    assert len({len(scene.importance) for scene in scenes}) >= 4


def test_the_same_seed_draws_the_same_scenes_and_a_larger_set_begins_with_a_smaller_one(tmp_path: Path) -> None:
    small = draw_scenes(tmp_path / "a", tmp_path / "a.csv", DemoConfig(scenes=20, people=3, seed=5))
    again = draw_scenes(tmp_path / "b", tmp_path / "b.csv", DemoConfig(scenes=20, people=3, seed=5))
    larger = draw_scenes(tmp_path / "c", tmp_path / "c.csv", DemoConfig(scenes=22, people=3, seed=5))
    other = draw_scenes(tmp_path / "d", tmp_path / "d.csv", DemoConfig(scenes=20, people=3, seed=6))
    assert small == again and (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    for image_id in small.lists:
        assert (tmp_path / "a" / image_id).read_bytes() == (tmp_path / "b" / image_id).read_bytes()
        assert (tmp_path / "a" / image_id).read_bytes() == (tmp_path / "c" / image_id).read_bytes()
        assert small.lists[image_id] == larger.lists[image_id]
    assert small.lists != other.lists


def test_files_written(tmp_path: Path) -> None:
    made = draw_scenes(tmp_path / "photos", tmp_path / "tags.csv", DemoConfig(scenes=20, people=4))
    names = sorted(path.name for path in (tmp_path / "photos").iterdir())
    assert names == [f"scene-{number:05d}.jpg" for number in range(20)]
    with Image.open(tmp_path / "photos" / names[0]) as picture:
        assert picture.format == "JPEG" and picture.size == (WIDTH, HEIGHT)
    read = read_tag_lists(tmp_path / "tags.csv")
    assert read == made
    assert all(len(people) == 4 for people in read.lists.values())
    assert read.split is not None
    assert Counter(read.split.values()) == {"train": 14, "val": 2, "test": 4}
