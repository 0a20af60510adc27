"""Broken, hostile and odd feature caches over every command that reads one. The table is ``faults.CACHE_FAULTS``."""

from __future__ import annotations

import random

import pytest
from faults import CACHE_COMMANDS, CACHE_FAULTS, DAMAGED, FINE, REFUSED, Fault, Place

from ranktag.feature_cache import store as feature_store
from ranktag.feature_cache.store import open_features
from ranktag.files.isolation import Trial


@pytest.mark.parametrize("command", CACHE_COMMANDS)
@pytest.mark.parametrize("fault", CACHE_FAULTS, ids=str)
def test_fault(place: Place, fault: Fault, command: str) -> None:
    code = fault.codes.get(command, DAMAGED if command == "inspect" else REFUSED)
    if code is None:
        return
    file = place.shard if command == "join-features" else place.cache
    fault.make(file)
    place.does(command, code, place.shard.parent if command == "join-features" else file, *fault.words)
    written = place.folder / "new.csv"
    if code == FINE and command == "export-tags":
        store = open_features(place.cache)
        assert len({line.split(",")[0] for line in written.read_text().splitlines()[1:]}) == store.valid.sum()


def test_another_width_is_refused_by_name(place: Place) -> None:
    fault = next(fault for fault in CACHE_FAULTS if fault.name == "D = 1000")
    fault.make(place.cache)
    place.does("export-tags", REFUSED, place.cache, "width: 4096 / 1000", str(place.model))
    place.refuses((*place.command("export-tags"), "--force"), REFUSED, place.cache, "width: 4096 / 1000")
    place.does("resume", REFUSED, place.model)
    place.does("inspect", DAMAGED, place.cache, "its content is not what was written")
    fault.make(place.shard)
    place.does("join-features", REFUSED, place.shard, "damaged: its content is not what was written")


@pytest.mark.parametrize("seed", range(10))
def test_flipped_bytes_of_the_metadata(place: Place, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """HDF5 crashes on some and runs for ever on others: a command ends with a line, or as if nothing were."""
    monkeypatch.setattr(feature_store, "Trial", lambda action: Trial(action, seconds=1))
    store = open_features(place.cache)
    data = place.cache.read_bytes()
    begin = store.features.offset  # type: ignore[attr-defined]
    metadata = [*range(begin), *range(begin + store.features.nbytes, len(data))]
    chance = random.Random(seed)
    for _ in range(6):
        damaged = bytearray(data)
        for place_of in chance.sample(metadata, chance.choice([1, 1, 2, 8])):
            damaged[place_of] ^= 1 << chance.randrange(8)
        place.cache.write_bytes(damaged)
        for command in ("inspect", "export-tags"):
            outcome = place.run(*place.command(command))
            assert outcome.code in ((FINE, DAMAGED) if command == "inspect" else (FINE, REFUSED)), outcome
            assert outcome.code == FINE or (str(place.cache) in outcome.err and outcome.err.endswith("\n")), outcome
            assert command == "inspect" or outcome.err.count("\n") <= 1, outcome
            (place.folder / "new.csv").unlink(missing_ok=True)
