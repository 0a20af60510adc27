"""The DataFrames of an evaluation hold what its files hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from comparing import predicted

from ranktag.evaluation.evaluate import evaluate
from ranktag.evaluation.results import EvaluationReport
from ranktag.tags.predictions import write_predictions


@pytest.fixture
def report(files: dict[str, Path], tmp_path: Path) -> EvaluationReport:
    """Two seeds in a row, and a file that lacks images and has one more; written to tmp_path/report."""
    write_predictions(tmp_path / "part.csv", predicted(a="y|x", zz="x"))
    rows = {"seeds": [files["good"], files["poor"]], "part": tmp_path / "part.csv"}
    return evaluate(rows, files["tags"], tmp_path / "report")


@pytest.mark.parametrize("name", ["metrics", "differences", "per_image", "per_tag"])
def test_frames_are_the_csv_files(report: EvaluationReport, tmp_path: Path, name: str) -> None:
    frame: pd.DataFrame = getattr(report, f"{name}_frame")()
    written = pd.read_csv(tmp_path / "report" / f"{name}.csv")
    assert list(frame.columns) == list(written.columns) and len(frame) == len(written) > 0
    for column in written:
        if written[column].dtype.kind in "fi":
            found = frame[column].to_numpy(dtype=float, na_value=np.nan)
            np.testing.assert_allclose(found, written[column].to_numpy(dtype=float), rtol=1e-5)
        else:
            assert frame[column].tolist() == written[column].tolist()


def test_counts_stay_whole_numbers(report: EvaluationReport) -> None:
    frame = report.per_image_frame()
    assert frame["people"].dtype == "Int64" and frame.loc[frame["image_id"] == "zz", "people"].isna().all()
    assert frame.loc[frame["status"] == "missing", "ndcg@5"].isna().all()
    assert report.metrics_frame()["images"].tolist() == [3, 1]


def test_differences_are_those_of_the_json_file(report: EvaluationReport, tmp_path: Path) -> None:
    (row,) = report.differences_frame().to_dict("records")
    (written,) = json.loads((tmp_path / "report" / "metrics.json").read_text(encoding="utf-8"))["differences"]
    assert (row["first"], row["second"], row["images"]) == ("seeds", "part", 1)
    assert len(row) == 3 + 5 * len(written["scores"])
    for name, change in written["scores"].items():
        for key, part in (("value", ""), ("low", "_low"), ("high", "_high"), ("p", "_p"), ("p_holm", "_p_holm")):
            assert row[name + part] == pytest.approx(np.nan if change[key] is None else change[key], nan_ok=True)


def test_without_differences_the_frame_is_empty(files: dict[str, Path]) -> None:
    frame = evaluate([files["good"]], files["tags"]).differences_frame()
    assert len(frame) == 0 and "ndcg@5_p" in frame.columns
