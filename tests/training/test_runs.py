"""What run folders say of themselves; the folders are made by hand."""

from __future__ import annotations

import json
import math
import multiprocessing
import re
import sys
from pathlib import Path

import pytest

from ranktag.config import TrainingConfig
from ranktag.errors import RanktagError
from ranktag.files.lock import FileLock, is_locked
from ranktag.training.runs import compared, curves, find_runs, plot_runs, summarise
from ranktag.training.runs_page import write_runs_page

HISTORY = "epoch,loss,ndcg5,seconds\n1,2.0,0.30,1.5\n2,1.0,0.50,1.25\n3,0.9,0.40,1.25\n"


def made(run: Path, *, ndcg5: float | None = 0.5, history: str = HISTORY, **settings: object) -> Path:
    """A run folder; without ndcg5 one that was stopped."""
    run.mkdir(parents=True)
    (run / "state.pt").touch()
    if history:
        (run / "history.csv").write_text(history)
    if ndcg5 is not None:
        content = {
            "cache": "caches/a.h5",
            "tags": "lists/tags.csv",
            "settings": TrainingConfig(**settings).to_dict(),
            "images": {"train": 7, "val": 2},
            "validation": {"ndcg5": ndcg5, "epoch": 0 if "model" in settings else 2, "low": 0.4, "high": 0.625},
        }
        (run / "config.json").write_text(json.dumps(content))
    return run


def test_runs_are_found_with_how_good_they_are(tmp_path: Path) -> None:
    made(tmp_path / "b/finished", lr=0.01)
    made(tmp_path / "a", ndcg5=None)
    made(tmp_path / ".hidden")
    (tmp_path / "other").mkdir()
    a, b = find_runs([tmp_path])
    assert (a.path, a.state, a.ndcg5, a.epoch, a.epochs, a.seconds) == (tmp_path / "a", "stopped", 0.5, 2, 3, 4.0)
    assert (b.state, b.score, b.data) == ("finished", "0.5000 [0.4000, 0.6250]", "tags.csv on a.h5")
    assert (b.epoch, b.epochs, b.changed_settings(), b.images) == (2, 3, {"lr": 0.01}, {"train": 7, "val": 2})
    assert json.loads(json.dumps(b.to_dict()))["path"] == str(tmp_path / "b/finished")


def test_a_baseline_has_no_epochs_and_only_its_own_settings(tmp_path: Path) -> None:
    run = summarise(made(tmp_path / "knn", history="setting,ndcg5\nk=10,0.5\n", model="knn", lr=0.01))
    assert (run.epoch, run.epochs, run.seconds, run.changed_settings()) == (None, None, None, {})


def test_what_a_process_is_at_work_on_is_told(tmp_path: Path) -> None:
    run = made(tmp_path / "run", ndcg5=None)
    held, go_on = multiprocessing.Event(), multiprocessing.Event()

    def train() -> None:
        with FileLock(run / ".lock") as lock:
            lock.acquire()
            held.set()
            go_on.wait(60)

    assert not is_locked(run / ".lock") and summarise(run).state == "stopped"
    other = multiprocessing.get_context("fork").Process(target=train)
    other.start()
    assert held.wait(60) and summarise(run).state == "training"
    go_on.set()
    other.join()
    assert summarise(run).state == "stopped"


def test_the_sides_of_a_comparison_are_what_differs(tmp_path: Path) -> None:
    runs = [
        summarise(made(tmp_path / name, ndcg5=score, lr=lr))
        for name, score, lr in (("a", 0.5, 0.01), ("b", 0.25, 0.02))
    ]
    table = {name: values for name, *values in compared(runs)}
    assert table["lr"] == ["0.01", "0.02"] and table["seconds"] == ["4.0", "4.0"] and "hidden" not in table
    assert table["NDCG@5"] == ["0.5000 [0.4000, 0.6250]", "0.2500 [0.4000, 0.6250]"]
    assert table["best epoch"] == ["2 of 3", "2 of 3"] and table["images"] == ["7 train, 2 val"] * 2


def test_curves_lie_over_each_other_by_epoch(tmp_path: Path) -> None:
    longer, shorter = made(tmp_path / "a"), made(tmp_path / "b", history="epoch,ndcg5,seconds\n1,0.1,1\n2,0.2,1\n")
    knn = made(tmp_path / "knn", history="setting,ndcg5\nk=10,0.5\n", model="knn")
    table = curves([summarise(run) for run in (longer, shorter, knn)])
    assert list(table.index) == [1, 2, 3] and list(table.columns) == [str(longer), str(shorter)]
    assert table[str(longer)].tolist() == [0.3, 0.5, 0.4]
    assert table[str(shorter)].tolist()[:2] == [0.1, 0.2] and math.isnan(table[str(shorter)][3])


def test_curves_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    run, knn = summarise(made(tmp_path / "a")), made(tmp_path / "k", history="", model="knn")
    plot_runs(tmp_path / "c.svg", [run])
    assert "<svg" in (tmp_path / "c.svg").read_text()
    with pytest.raises(RanktagError, match="c.doc: a picture of that kind cannot be drawn"):
        plot_runs(tmp_path / "c.doc", [run])
    with pytest.raises(RanktagError, match="baselines have no curves"):
        plot_runs(tmp_path / "c.png", [summarise(knn)])


def test_a_page_of_runs_needs_no_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    runs = [summarise(made(tmp_path / name)) for name in ("a", "<b>")]
    knn = summarise(made(tmp_path / "knn", history="setting,ndcg5\nk=10,0.5\n", model="knn"))
    write_runs_page(tmp_path / "runs.html", [*runs, knn])
    page = (tmp_path / "runs.html").read_text()
    assert page.count("<polyline") == 2 and page.count("<tr>") == 1 + 3 and "<b>" not in page
    assert re.findall(r"<bdi>([^<]*)</bdi></th>", page) == ["a", "&lt;b&gt;", "knn"]
    write_runs_page(tmp_path / "runs.html", [knn])
    assert "<svg" not in (tmp_path / "runs.html").read_text()


def test_folders_without_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RanktagError, match="holds no run"):
        find_runs([tmp_path])
    with pytest.raises(RanktagError, match="no such folder"):
        find_runs([tmp_path / "no"])
    (made(tmp_path / "run") / "config.json").write_text("[1")
    with pytest.raises(RanktagError, match="is no run's config.json"):
        find_runs([tmp_path])
