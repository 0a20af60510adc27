"""An engine is one module; one that is added is used by its name and makes the same cache."""

from __future__ import annotations

from pathlib import Path

from added import TINY, of_readme, run_with
from extracting import OPTIONS, assert_same

from ranktag.feature_cache.shards import folder_of
from ranktag.features.backbone import FOLDER as NETWORKS

ENGINES = "ranktag.features.executors"
BACKWARDS = of_readme("ranktag/features/executors/backwards.py")


def test_a_module_adds_an_engine(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/backwards.py").write_text(BACKWARDS)
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks/tiny.py").write_text(TINY)
    here, there = tmp_path / "here.h5", tmp_path / "there.h5"
    call = ("extract-features", photos, "--backbone", "tiny", *OPTIONS)
    local, backwards, again, wrong, help_page = run_with(
        {ENGINES: tmp_path / "modules", NETWORKS: tmp_path / "networks"},
        [
            (*call, "-o", here),
            (*call, "-o", there, "--executor", "backwards"),
            (*call, "-o", there, "--executor", "backwards"),
            (*call, "-o", tmp_path / "c.h5", "--executor", "sideways"),
            ("extract-features", "--help"),
        ],
    )
    # Two of the photos cannot be read.
    assert local.code == backwards.code == again.code == 1, (local, backwards, again)
    assert "4 shards, from the last to the first" in backwards.err and "from the last" not in local.err
    assert "05.png: empty (0 bytes)" in backwards.out and "30 images in" in backwards.out
    assert_same(here, there)
    assert not folder_of(there).exists()
    assert "All 30 images were done already." in again.out
    wrong.assert_refused("sideways", "backwards", "local")
    assert "--executor [backwards|local|manifest|ray]" in help_page.out
