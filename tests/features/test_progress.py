"""What a run has done, as a table."""

from __future__ import annotations

from pathlib import Path

from ranktag.features.progress import ExtractionReport


def test_failures_as_a_data_frame() -> None:
    report = ExtractionReport(
        Path("c.h5"), 3, 3, 3, [("a.jpg", "empty (0 bytes)"), ("c.jpg", "no such file")], 1.0, None
    )
    frame = report.failures_frame()
    assert list(frame.columns) == ["image_id", "error"]
    assert frame.to_numpy().tolist() == [["a.jpg", "empty (0 bytes)"], ["c.jpg", "no such file"]]


def test_without_failures_the_data_frame_has_columns_and_no_rows() -> None:
    frame = ExtractionReport(Path("c.h5"), 3, 3, 3, [], 1.0, None).failures_frame()
    assert list(frame.columns) == ["image_id", "error"] and len(frame) == 0
