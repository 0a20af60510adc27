"""Caches at URLs: what is there is whole, what was done is not done again, and a server that fails loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from extracting import OPTIONS, SETTINGS, assert_same, start, wait_for
from objects import BUCKET, Objects
from outcome import Outcome

from ranktag.errors import NotFound, Outage, Usage
from ranktag.features.extract import extract_features
from ranktag.features.put import join_at_url
from ranktag.files import remote
from ranktag.files.mirror import local_copy
from ranktag.files.user_cache import cache_folder

pytestmark = pytest.mark.usefixtures("tiny")

URL = f"{BUCKET}/caches/c.h5"
SHARDS = [f"caches/c.h5.shards/{number:05}-of-00004.h5" for number in range(4)]


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAITS", (0.0, 0.0))


def fails_at(name: str, status: int = 503) -> Callable[[str, str], int | None]:
    """No object of that name is taken."""
    return lambda method, path: status if method == "PUT" and path.endswith(name) else None


def test_a_cache_is_put_in_one_piece_and_its_shards_go(objects: Objects, photos: Path, whole: Path) -> None:
    report = extract_features(photos, URL, SETTINGS)
    assert (report.output, report.cache, report.computed) == (URL, URL, 30)
    assert objects.names() == ["caches/c.h5"]
    puts = [path for method, path in objects.asked if method == "PUT"]
    assert puts == [f"/photos/{name}" for name in (*SHARDS, "caches/c.h5")]
    assert_same(local_copy(URL), whole)
    objects.asked.clear()
    assert extract_features(photos, URL, SETTINGS).computed == 0
    assert {method for method, _ in objects.asked} <= {"HEAD", "GET"}


@pytest.mark.parametrize("same_machine", [True, False])
def test_a_server_that_fails_stops_the_run_which_then_goes_on(
    objects: Objects, photos: Path, whole: Path, same_machine: bool
) -> None:
    objects.fault = fails_at("00002-of-00004.h5")
    with pytest.raises(Outage, match=r"c\.h5\.shards/00002-of-00004\.h5: .*503"):
        extract_features(photos, URL, SETTINGS)
    assert objects.names() == SHARDS[:2] and len([1 for method, _ in objects.asked if method == "PUT"]) == 5
    objects.fault = lambda method, path: None
    if not same_machine:
        shutil.rmtree(cache_folder())
    # The third shard was computed, and is in the copy of the machine that could not put it.
    assert extract_features(photos, URL, SETTINGS).computed == (6 if same_machine else 14)
    assert objects.names() == ["caches/c.h5"]
    assert_same(local_copy(URL), whole)


def test_an_answer_at_the_second_try_is_enough(objects: Objects, photos: Path, whole: Path) -> None:
    answers = iter([500, 503])
    fault = fails_at("00001-of-00004.h5")
    objects.fault = lambda method, path: fault(method, path) and next(answers, None)
    extract_features(photos, URL, SETTINGS)
    assert_same(local_copy(URL), whole)


@pytest.mark.parametrize("what", ["half", "other"])
def test_a_half_written_object_is_never_taken_for_whole(objects: Objects, photos: Path, whole: Path, what: str) -> None:
    objects.fault = fails_at("00003-of-00004.h5")
    with pytest.raises(Outage):
        extract_features(photos, URL, SETTINGS)
    objects.fault = lambda method, path: None
    content = objects.system().cat_file(f"{BUCKET}/{SHARDS[1]}")
    objects.put(SHARDS[1], content[: len(content) // 2] if what == "half" else b"x" * len(content))
    shutil.rmtree(cache_folder())
    assert extract_features(photos, URL, SETTINGS).computed == 8 + 6
    assert_same(local_copy(URL), whole)


def test_a_killed_run_goes_on_elsewhere(objects: Objects, photos: Path, whole: Path) -> None:
    process = start(photos, URL)  # type: ignore[arg-type]
    wait_for(lambda: len(objects.names()) >= 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    there = objects.names()
    assert there == SHARDS[: len(there)]
    shutil.rmtree(cache_folder())
    assert extract_features(photos, URL, SETTINGS).computed == 30 - 8 * len(there)
    assert_same(local_copy(URL), whole)


def test_workers_on_several_machines_share_a_url(
    objects: Objects, photos: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(2):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / f"machine-{index}"))
        report = extract_features(photos, URL, SETTINGS.replace(worker_index=index, worker_count=2))
        assert report.cache is None
        if index == 0:
            with pytest.raises(NotFound, match=r"photos/caches/c\.h5\.shards: of 4 shards 2 are missing"):
                join_at_url(URL)
    assert objects.names() == SHARDS
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "machine-2"))
    join_at_url(URL)
    assert objects.names() == ["caches/c.h5"]
    assert_same(local_copy(URL), whole)


def test_new_photos_are_added_to_a_cache_at_a_url(objects: Objects, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(20):
        shutil.copy2(photos / f"{number:02}.png", tmp_path / "photos")
    extract_features(tmp_path / "photos", URL, SETTINGS)
    for number in range(20, 30):
        shutil.copy2(photos / f"{number:02}.png", tmp_path / "photos")
    # Elsewhere, and stopped in between.
    shutil.rmtree(cache_folder())
    objects.fault = fails_at("00001-of-00002.h5")
    with pytest.raises(Outage):
        extract_features(tmp_path / "photos", URL, SETTINGS)
    assert objects.names()[0] == "caches/c.h5"
    objects.fault = lambda method, path: None
    shutil.rmtree(cache_folder())
    assert extract_features(tmp_path / "photos", URL, SETTINGS).computed == 2
    assert objects.names() == ["caches/c.h5"]
    extract_features(tmp_path / "photos", tmp_path / "local.h5", SETTINGS)
    assert_same(local_copy(URL), tmp_path / "local.h5")


def test_the_command_says_the_url_and_no_secret(
    objects: Objects, photos: Path, tmp_path: Path, ranktag: Callable[..., Outcome]
) -> None:
    call = ["extract-features", photos, "-o", URL, *OPTIONS, "--workers", "0", "--log-file", tmp_path / "log"]
    objects.fault = lambda method, path: 403
    outcome = ranktag(*call, "--json")
    assert outcome.code == 4 and json.loads(outcome.out)["error"] == "outage"
    assert outcome.err == (
        f"Error: {URL}: access denied; what is done is kept: check the credentials and run the same command again\n"
    )
    objects.fault = lambda method, path: None
    outcome = ranktag(*call)
    assert outcome.code == 1 and f"Features: {URL}\n" in outcome.out
    secret = ranktag(
        "extract-features", "https://me:pass@host/a", "-o", tmp_path / "c.h5", "--log-file", tmp_path / "log"
    )
    said = outcome.out + outcome.err + secret.err + (tmp_path / "log").read_text()
    assert secret.code == 2 and "never-to-be-shown" not in said and "pass@" not in said and "https://host/a" in said
    with pytest.raises(Usage, match="name the object"):
        extract_features(photos, BUCKET, SETTINGS)
