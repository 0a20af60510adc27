"""URLs as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from ranktag.urls import is_url, without_secrets


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("s3://bucket/a.tar", True),
        (b"https://host/a.jpg", True),
        ("photos/a.jpg", False),
        ("/photos/s3://a", False),
        (Path("photos"), False),
        ("C:/photos", False),
    ],
)
def test_a_url_is_told_from_a_path(place: str | bytes | Path, expected: bool) -> None:
    assert is_url(place) is expected


def test_secrets_are_not_shown() -> None:
    said = without_secrets("sftp://me:pass@host/a.jpg and 'https://host/b.jpg?X-Amz-Signature=12&x=3' are gone")
    assert said == "sftp://host/a.jpg and 'https://host/b.jpg' are gone"
