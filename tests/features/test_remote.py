"""Stage one of photos that are no files of their own: the rows are those of the files, and a run that ended goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from extracting import OPTIONS, SETTINGS, finished_shards, start, wait_for
from objects import BUCKET, Objects
from outcome import Outcome
from tars import make_parquet, make_tar

from ranktag.errors import Outage
from ranktag.feature_cache.shards import join_shards
from ranktag.feature_cache.store import open_features
from ranktag.features.changes import changes_since
from ranktag.features.extract import extract_features
from ranktag.features.from_manifest import extract_from_manifest
from ranktag.files import remote

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache-folder"))
    monkeypatch.setattr(remote, "WAITS", (0.0,))
    monkeypatch.setattr("ranktag.images.batches.WAITS", (0.0,))


@pytest.fixture(scope="module")
def tars(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the photos in two tars, p-0.tar and p-1.tar."""
    folder = tmp_path_factory.mktemp("tars")
    members = [(path.name, path.read_bytes()) for path in sorted(photos.iterdir())]
    make_tar(folder / "p-0.tar", members[:18])
    make_tar(folder / "p-1.tar", members[18:])
    return folder


def assert_rows_of(cache: Path, whole: Path) -> None:
    """The rows of the photos' files, under whatever ids."""
    ours, theirs = open_features(cache), open_features(whole)
    assert ours.features.tobytes() == theirs.features.tobytes() and list(ours.error) == list(theirs.error)
    assert ours.files is not None and theirs.files is not None and list(ours.files.sha256) == list(theirs.files.sha256)


def test_photos_in_tars_give_the_rows_of_the_files(tars: Path, whole: Path, tmp_path: Path) -> None:
    names = [f"{number:02}" for number in range(30)]
    for id_from, ids in (
        ("path", [f"p-{int(name >= '18')}.tar/{name}.png" for name in names]),
        ("key", names),
    ):
        output = tmp_path / f"{id_from}.h5"
        report = extract_features(tars / "p-{0..1}.tar", output, SETTINGS.replace(id_from=id_from))
        assert [image_id for image_id, _ in report.failures] == [ids[5], ids[13]]
        assert list(open_features(output).image_id) == ids
        assert_rows_of(output, whole)
    # Its photos are called as in the cache.
    assert changes_since(output, tars / "p-{0..1}.tar").none
    # Nothing is read again as long as the tars are as they were.
    assert extract_features(tars / "p-{0..1}.tar", output, SETTINGS.replace(id_from="key")).computed == 0


def test_parquet_gives_the_rows_of_the_files(photos: Path, whole: Path, tmp_path: Path) -> None:
    rows = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(photos.iterdir())]
    table = make_parquet(tmp_path / "t.parquet", {"image": rows}, row_group_size=9)
    extract_features(table, tmp_path / "c.h5", SETTINGS.replace(workers=2))
    ours, theirs = open_features(tmp_path / "c.h5"), open_features(whole)
    assert ours.features.tobytes() == theirs.features.tobytes() and list(ours.valid) == list(theirs.valid)


def test_a_killed_run_over_tars_goes_on(tars: Path, whole: Path, tmp_path: Path) -> None:
    images, output = tars / "p-{0..1}.tar", tmp_path / "c.h5"
    process = start(images, output)
    wait_for(lambda: finished_shards(output) >= 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = finished_shards(output)
    report = extract_features(images, output, SETTINGS)
    assert report.computed <= 30 - 8 * done and report.images == 30
    assert_rows_of(output, whole)


def test_a_tar_that_is_made_anew_is_computed_again(photos: Path, tars: Path, tmp_path: Path) -> None:
    for name in ("p-0.tar", "p-1.tar"):
        (tmp_path / name).write_bytes((tars / name).read_bytes())
    images, output = tmp_path / "p-{0..1}.tar", tmp_path / "c.h5"
    extract_features(images, output, SETTINGS)
    os.utime(tmp_path / "p-1.tar", ns=(1, 1))
    report = extract_features(images, output, SETTINGS)
    assert report.computed == 12 and report.changes is not None and len(report.changes.kept) == 18
    # With --verify-content it is known by what is in it.
    os.utime(tmp_path / "p-0.tar", ns=(1, 1))
    assert extract_features(images, output, SETTINGS.replace(verify_content=True)).computed == 0


def test_photos_at_urls_give_the_rows_of_the_files(objects: Objects, photos: Path, whole: Path, tmp_path: Path) -> None:
    lines = ["image_id,path"]
    for path in sorted(photos.iterdir()):
        lines.append(f"{path.name},{objects.put(f'in/{path.name}', path.read_bytes())}")
    lines.append(f"30.png,{BUCKET}/in/none.png")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    output = tmp_path / "c.h5"
    report = extract_features(tmp_path / "list.csv", output, SETTINGS.replace(workers=2))
    assert report.failures[-1] == ("30.png", "no such object") and len(report.failures) == 3
    ours, theirs = open_features(output), open_features(whole)
    assert np.array_equal(ours.features[:30], theirs.features, equal_nan=True)
    # An object that is put anew is computed again, and no other.
    objects.put("in/07.png", (photos / "08.png").read_bytes())
    assert extract_features(tmp_path / "list.csv", output, SETTINGS).computed == 1
    assert np.array_equal(open_features(output).features[7], theirs.features[8])


@pytest.mark.parametrize(("status", "words"), [(503, "503 Service Unavailable"), (403, "check the credentials")])
def test_a_server_that_fails_is_an_outage_and_what_is_done_is_kept(
    objects: Objects, tars: Path, whole: Path, tmp_path: Path, status: int, words: str, ranktag: object
) -> None:
    for name in ("p-0.tar", "p-1.tar"):
        objects.put(name, (tars / name).read_bytes())
    images, output = f"{BUCKET}/p-{{0..1}}.tar", tmp_path / "c.h5"
    extract_features(images, tmp_path / "first.h5", SETTINGS)
    objects.fault = lambda method, path: status if method == "GET" and path.endswith("p-1.tar") else None
    with pytest.raises(Outage, match="p-1.tar"):
        extract_features(images, output, SETTINGS)
    assert finished_shards(output) == 2
    call = ["extract-features", images, "-o", output, *OPTIONS, "--workers", "0"]
    outcome: Outcome = ranktag(*call)  # type: ignore[operator]
    assert outcome.code == 4 and len(outcome.err.strip().splitlines()[-1:]) == 1 and words in outcome.err
    assert "Traceback" not in outcome.err and "never-to-be-shown" not in outcome.err
    objects.fault = lambda method, path: None
    assert extract_features(images, output, SETTINGS).computed == 14
    assert_rows_of(output, whole)


def test_a_manifest_carries_photos_in_tars_and_at_urls(
    objects: Objects, photos: Path, tars: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ranktag.features.manifest._weights_sha256", lambda job: "0" * 64)
    objects.put("p-1.tar", (tars / "p-1.tar").read_bytes())
    one = objects.put("29.png", (photos / "29.png").read_bytes())
    monkeypatch.chdir(tars)
    lists = {"tars": Path("p-{0..1}.tar"), "urls": f"{BUCKET}/p-1.tar", "csv": tmp_path / "list.csv"}
    lists["csv"].write_text(f"image_id,path\na,{one}\nb,{photos / '28.png'}\n")
    settings = SETTINGS.replace(executor="manifest")
    reports = {name: extract_features(images, tmp_path / f"{name}.h5", settings) for name, images in lists.items()}
    monkeypatch.chdir(tmp_path)
    for name in lists:
        done = extract_from_manifest(reports[name].manifest or "")
        assert done.computed == {"tars": 30, "urls": 12, "csv": 2}[name]
        join_shards(tmp_path / f"{name}.h5")
    assert_rows_of(tmp_path / "tars.h5", whole)
    theirs = open_features(whole).features
    assert np.array_equal(open_features(tmp_path / "urls.h5").features, theirs[18:], equal_nan=True)
    assert np.array_equal(open_features(tmp_path / "csv.h5").features, theirs[[29, 28]])
    (tmp_path / "tars.h5").unlink()
    monkeypatch.chdir(tars)
    report = extract_features(Path("p-{0..1}.tar"), tmp_path / "tars.h5", settings)
    # A machine that does not see the tars makes no failed rows of them.
    for name in ("p-0.tar", "p-1.tar"):
        (tars / name).rename(tars / f"gone-{name}")
    try:
        with pytest.raises(Outage, match="does not see the photos"):
            extract_from_manifest(report.manifest or "")
    finally:
        for name in ("p-0.tar", "p-1.tar"):
            (tars / f"gone-{name}").rename(tars / name)
