"""What the engine makes of what tasks on a cluster say, by a connection that makes the answers up, without Ray."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from added import TINY
from extracting import SETTINGS, assert_same

from ranktag.errors import NotFound, Outage, Usage
from ranktag.features import backbones
from ranktag.features.executors import _cluster, ray
from ranktag.features.extract import extract_features
from ranktag.features.progress import ExtractionProgress

CONFIG = SETTINGS.replace(backbone="tiny")
ON_RAY = CONFIG.replace(executor="ray")

# Two nodes; what they compute is computed here. SAY is what is said instead, in turn, of requests for shards, and null
# where nothing is. What was to be avoided goes to a file.
DRIVER = """if True:
    import json, os, sys
    from ranktag.features.shard_worker import ShardWorker

    def say(**line):
        print(json.dumps(line), flush=True)

    say_instead, worker = json.loads(os.environ["SAY"]), ShardWorker(1)
    sys.stdin.readline()
    say(**json.loads(os.environ["CLUSTER"]))
    for line in sys.stdin:
        call = json.loads(line)
        node = "b" if "a" in call["avoid"] else "a"
        said = say_instead.pop(0) if "shards" in call["request"] and say_instead else None
        if "shards" in call["request"]:
            with open(os.environ["ASKED"], "a") as asked:
                print(json.dumps([call["request"]["shards"], call["avoid"]]), file=asked)
        if said == "end":
            break
        say(id=call["id"], result={"host": "host-" + node, "node": node, **(said or worker.answer(call["request"]))})
"""
OUTAGE = {"error": "outage", "message": "photos/04.png: HTTP 503, tried 4 times"}


class Notes(ExtractionProgress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of what was asked, shards and nodes to be avoided; Ray's connection is the one above."""
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks/tiny.py").write_text(TINY)
    monkeypatch.setattr(backbones, "__path__", [*backbones.__path__, str(tmp_path / "networks")])
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "networks_added"))
    monkeypatch.setenv("NETWORKS_ADDED", str(tmp_path / "networks"))
    monkeypatch.setenv("ASKED", str(tmp_path / "asked"))
    monkeypatch.setenv("CLUSTER", json.dumps({"cluster": {"nodes": 2, "slots": {"a": 1, "b": 1}}}))
    monkeypatch.setattr(_cluster, "DRIVER", ("-c", DRIVER))
    monkeypatch.setattr(ray, "find_spec", lambda name: name)
    return tmp_path / "asked"


def requests(asked: Path) -> list[tuple[str, list[str]]]:
    return [tuple(json.loads(line)) for line in asked.read_text().splitlines()]


def test_a_shard_that_met_an_outage_is_tried_elsewhere(
    photos: Path, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, output, progress = asked.with_name("alone.h5"), asked.with_name("c.h5"), Notes()
    extract_features(photos, alone, CONFIG)
    monkeypatch.setenv("SAY", json.dumps([OUTAGE, OUTAGE]))
    report = extract_features(photos, output, ON_RAY, progress)
    # Both runs failed at their first shard. The others are tried first, anywhere, then each of the two alone, not where
    # it failed, as long as there is another node. An outage says nothing of a node: it is not avoided by all.
    assert requests(asked)[:2] == [("0-1", []), ("2-3", [])] and progress.notes == []
    assert dict(requests(asked)[2:]) == {"1": [], "3": [], "0": ["a"], "2": ["a"]}
    assert report.computed == 30 and [image_id for image_id, _ in report.failures] == ["05.png", "13.png"]
    assert_same(output, alone)


def test_outages_that_stay_name_the_shards_and_the_same_command_goes_on(
    photos: Path, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = asked.with_name("c.h5")
    monkeypatch.setenv("SAY", json.dumps([None, OUTAGE, OUTAGE, OUTAGE]))
    with pytest.raises(
        Outage, match=r"shard.* of 4 could not be computed \(photos/04.png: HTTP 503.*same command again"
    ):
        extract_features(photos, output, ON_RAY.replace(retries=0))
    there = len(list(output.with_name("c.h5.shards").glob("0*.h5")))
    assert 0 < there < 4
    monkeypatch.setenv("SAY", "[]")
    report = extract_features(photos, output, ON_RAY)
    assert report.cache == output and 0 < report.computed < 30
    assert not os.path.exists(output.with_name("c.h5.shards"))


def test_a_node_that_would_fail_anything_gets_no_more_work(
    photos: Path, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = Notes()
    monkeypatch.setenv("SAY", json.dumps([{"error": "mismatch", "message": "other versions"}]))
    assert extract_features(photos, asked.with_name("c.h5"), ON_RAY, progress).computed == 30
    assert progress.notes == ["host-a gets no more work: other versions"]
    assert all(avoid == ["a"] for _, avoid in requests(asked)[2:])


def test_a_connection_that_ends_is_an_outage(photos: Path, asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAY", json.dumps(["end"]))
    with pytest.raises(Outage, match="does not answer any more; 0 of 30 images are done and kept in .*same command"):
        extract_features(photos, asked.with_name("c.h5"), ON_RAY)


def test_what_answers_at_an_address_and_is_no_cluster_is_named(
    photos: Path, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        there = ON_RAY.replace(ray_address=address)
        monkeypatch.setenv("SAY", "[]")
        monkeypatch.setattr(_cluster, "DRIVER", ("-c", ""))
        with pytest.raises(Outage, match=f"^--ray-address {address}: the Ray cluster does not answer; run the same"):
            extract_features(photos, asked.with_name("c.h5"), there)
        monkeypatch.setattr(_cluster, "DRIVER", ("-c", DRIVER))
        monkeypatch.setenv("CLUSTER", json.dumps({"fault": "nobody there"}))
        with pytest.raises(NotFound, match=rf"^--ray-address {address}: there is no Ray cluster \(nobody there\)"):
            extract_features(photos, asked.with_name("c.h5"), there)
        monkeypatch.setenv("RAY_ADDRESS", f"ray://{address}")
        with pytest.raises(NotFound, match=f"^RAY_ADDRESS ray://{address}: there is no Ray cluster"):
            extract_features(photos, asked.with_name("c.h5"), ON_RAY)


def test_an_address_where_nothing_answers_is_an_outage_that_names_it(
    photos: Path, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    there, output = ON_RAY.replace(ray_address=f"127.0.0.1:{port}"), asked.with_name("c.h5")
    monkeypatch.setattr(_cluster, "ANSWER", 0.0)
    with pytest.raises(
        Outage, match=rf"^--ray-address 127.0.0.1:{port}: nothing answers there \(Connection refused\); start .*again$"
    ):
        extract_features(photos, output, there)
    with pytest.raises(Outage, match=r"h\.invalid:1: nothing answers there"):
        extract_features(photos, output, ON_RAY.replace(ray_address="h.invalid:1"))
    for no_address in ("127.0.0.1:65536", "a..b:1"):
        with pytest.raises(Usage, match=f"^--ray-address {no_address}: is no address; write HOST:PORT"):
            extract_features(photos, output, ON_RAY.replace(ray_address=no_address))
    assert not output.exists() and not asked.exists()


def test_a_head_that_is_just_being_started_is_waited_for(
    photos: Path, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    waited: list[float] = []
    heads: list[socket.socket] = []

    def head_starts(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            heads.append(socket.create_server(("127.0.0.1", port)))

    monkeypatch.setattr(_cluster.time, "sleep", head_starts)
    _cluster._expect_answer("--ray-address", f"127.0.0.1:{port}")
    assert waited == [_cluster.WAIT, _cluster.WAIT]
    heads[0].close()
