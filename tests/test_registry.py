"""A folder of choices: a module put there is one, by its name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ranktag import registry

FOLDER = "ranktag.tags.readers"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Its modules join the readers; what is imported from it is forgotten again."""
    package = importlib.import_module(FOLDER)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(f"{FOLDER}.card_index")]:
        del sys.modules[name]


def test_a_module_is_a_choice_by_its_name(folder: Path) -> None:
    assert "card-index" not in registry.names(FOLDER)
    (folder / "card_index.py").write_text("ANSWER = 42\n")
    assert "card-index" in registry.names(FOLDER)
    assert f"{FOLDER}.card_index" not in sys.modules  # listed, not imported
    assert registry.load(FOLDER, "card-index").ANSWER == 42


def test_names_are_in_alphabetical_order_and_without_what_is_shared(folder: Path) -> None:
    (folder / "_shared.py").write_text("")
    names = registry.names(FOLDER)
    assert list(names) == sorted(names) and "-shared" not in names and "shared" not in names
    assert {"voc", "labelme-xml", "labelme-json", "hwang-grauman", "captions", "csv"} <= set(names)


@pytest.mark.parametrize("name", ["nonsense", "labelme_xml", "", "../config", "_shared"])
def test_another_name_is_refused_with_those_there_are(folder: Path, name: str) -> None:
    (folder / "_shared.py").write_text("")
    with pytest.raises(ValueError, match="is not one of .*captions, .*csv, .*; choose one of them"):
        registry.load(FOLDER, name)
