"""Objects at URLs: what a server says of one, and what it fails to say."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from objects import BUCKET, Objects

from ranktag.errors import NotInstalled, Outage, Usage
from ranktag.files import remote
from ranktag.files.mirror import Mirror, local_copy


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAITS", (0.0, 0.0, 0.0))


def test_an_object_is_put_read_and_fetched(objects: Objects, tmp_path: Path) -> None:
    content = bytes(range(256)) * 100
    (tmp_path / "a").write_bytes(content)
    url = f"{BUCKET}/folder/a.bin"
    assert remote.state_of(url) is None
    state = remote.put(tmp_path / "a", url)
    assert (
        state.size == len(content) and state == remote.state_of(url) == remote.objects_in(f"{BUCKET}/folder")["a.bin"]
    )
    assert remote.read(url) == content and remote.read(url, 1000, 1010) == content[1000:1010]
    remote.fetch(url, tmp_path / "below" / "b")
    assert (tmp_path / "below" / "b").read_bytes() == content
    objects.put("folder/a.bin", content[::-1])
    changed = remote.state_of(url)
    assert changed is not None and changed.size == state.size and changed.number != state.number
    remote.remove(url)
    remote.remove(url)
    assert objects.names() == []


def test_several_objects_are_asked_for_together(objects: Objects) -> None:
    urls = [objects.put(f"one/{k}[1].jpg", b"x" * k) for k in range(1, 12)] + [objects.put("two/a?.jpg", b"y")]
    objects.asked.clear()
    states = remote.states_of([*urls, f"{BUCKET}/one/none.jpg", f"{BUCKET}/three/none.jpg"])
    assert [state.size if state else None for state in states.values()] == [*range(1, 12), 1, None, None]
    # A folder of many objects is listed, a single object is asked for.
    assert sum(path == "/photos" for _, path in objects.asked) <= 2 and len(objects.asked) < 6
    found = remote.read_all([(urls[3], None, None), (urls[4], 1, 3), (f"{BUCKET}/one/none.jpg", None, None)])
    assert found[:2] == [b"xxxx", b"xx"] and isinstance(found[2], FileNotFoundError)


def test_what_is_answered_at_the_second_try_is_no_outage(objects: Objects) -> None:
    url = objects.put("a", b"here")
    answers = iter([503, 500])
    objects.fault = lambda method, path: next(answers, None)
    assert remote.patiently(url, lambda: remote.read(url)) == b"here"


@pytest.mark.parametrize(
    ("status", "tries", "words"),
    [(503, 4, "server or the network"), (500, 4, "network"), (403, 1, "denied"), (401, 1, "credentials")],
)
def test_a_server_that_does_not_answer_is_an_outage(objects: Objects, status: int, tries: int, words: str) -> None:
    url = objects.put("a", b"here")
    objects.fault = lambda method, path: status
    objects.asked.clear()
    for ask in (lambda: remote.patiently(url, lambda: remote.read(url)), lambda: remote.state_of(url)):
        with pytest.raises(Outage, match=words) as raised:
            ask()
        assert "never-to-be-shown" not in str(raised.value) and url in str(raised.value)
    assert tries <= len(objects.asked) <= 4 * tries


def test_no_connection_and_no_bucket_are_outages(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Outage, match="no such bucket"):
        remote.patiently("s3://nobody/a", lambda: remote.read("s3://nobody/a"))
    url = "http://me:pass@127.0.0.1:9/a.jpg?token=secret"
    for ask in (lambda: remote.patiently(url, lambda: remote.read(url)), lambda: remote.state_of(url)):
        with pytest.raises(Outage) as raised:
            ask()
        assert str(raised.value).startswith("http://127.0.0.1:9/a.jpg: ") and "secret" not in str(raised.value)


def test_what_cannot_be_read_says_what_is_missing() -> None:
    with pytest.raises(Usage, match="nosuch://a: is at no kind of place"):
        remote.read("nosuch://a")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(NotInstalled, match=r"ranktag\[remote\]"):
        remote.read("s3://photos/a")


def test_an_object_that_arrives_cut_short_is_an_outage(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"whole")
    system = objects.system()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(system, "put_file", lambda path, target: system.pipe_file(target, b"wh"))
        with pytest.raises(Outage, match="holds 2 bytes of the 5"):
            remote.put(tmp_path / "a", f"{BUCKET}/a")


def test_where_files_are_seen_while_they_are_written_another_name_is_written(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"new")
    url = f"file://{tmp_path}/there/a"
    remote.put(tmp_path / "a", url)
    with pytest.MonkeyPatch.context() as patch:
        local = type(remote._system(url)[0])
        patch.setattr(local, "put_file", lambda self, path, target: Path(target).write_bytes(b"n") and 1 / 0)
        with pytest.raises(Outage):
            remote.put(tmp_path / "a", url)
    assert (tmp_path / "there" / "a").read_bytes() == b"new"


def test_a_copy_fetches_what_differs(objects: Objects, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("0.h5", "1.h5"):
        objects.put(f"c.h5.shards/{name}", name.encode())
    objects.put("c.h5.shards/other.txt", b"not a shard")
    path = local_copy(f"{BUCKET}/c.h5")
    folder = path.with_name("c.h5.shards")
    assert path.name == "c.h5" and not path.exists()
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {"0.h5": b"0.h5", "1.h5": b"1.h5"}
    objects.put("c.h5.shards/1.h5", b"anew")
    objects.system().rm_file(f"{BUCKET}/c.h5.shards/0.h5")
    fetched: list[str] = []
    fetch = remote.fetch
    monkeypatch.setattr("ranktag.files.mirror.fetch", lambda url, to: (fetched.append(url), fetch(url, to)))
    local_copy(f"{BUCKET}/c.h5")
    assert [file.name for file in folder.iterdir()] == ["1.h5"] and (folder / "1.h5").read_bytes() == b"anew"
    objects.put("c.h5", b"joined")
    assert local_copy(f"{BUCKET}/c.h5").read_bytes() == b"joined"
    local_copy(f"{BUCKET}/c.h5")
    assert fetched == [f"{BUCKET}/c.h5.shards/1.h5", f"{BUCKET}/c.h5"]
    # A copy that somebody has changed is fetched again.
    path.write_bytes(b"changed by hand")
    assert local_copy(f"{BUCKET}/c.h5").read_bytes() == b"joined"


def test_a_copy_that_was_not_used_for_a_month_goes_unless_it_holds_what_was_never_put(objects: Objects) -> None:
    for name in ("old", "younger", "used", "unput", "new"):
        objects.put(f"{name}.h5", name.encode())
    paths = {name: local_copy(f"{BUCKET}/{name}.h5") for name in ("old", "younger", "used", "unput")}
    (paths["unput"].parent / "unput.h5.shards").mkdir()
    (paths["unput"].parent / "unput.h5.shards" / "0.h5").write_bytes(b"computed, and not taken by the server")
    ages = {"old": 31, "younger": 29, "used": 31, "unput": 31}
    for name, days in ages.items():
        then = time.time() - days * 24 * 60 * 60
        os.utime(paths[name].with_name("objects.jsonl"), (then, then))
    (paths["old"].parents[1] / ".killed.gone").mkdir()
    objects.asked.clear()
    # It is used before others are looked at.
    assert local_copy(f"{BUCKET}/used.h5") == paths["used"] and not any(method == "GET" for method, _ in objects.asked)
    assert [name for name, path in paths.items() if path.exists()] == ["younger", "used", "unput"]
    assert sorted(paths["old"].parents[1].iterdir()) == sorted(
        paths[name].parent for name in ("younger", "used", "unput")
    )
    # What was put since may go.
    Mirror(f"{BUCKET}/unput.h5").push(paths["unput"].parent.rglob("*.h5"))
    os.utime(paths["unput"].with_name("objects.jsonl"), (then, then))
    local_copy(f"{BUCKET}/new.h5")
    assert not paths["unput"].exists() and objects.system().exists(f"{BUCKET}/unput.h5.shards/0.h5")
    assert local_copy(f"{BUCKET}/old.h5").read_bytes() == b"old"


def test_a_copy_is_pushed_before_what_is_gone_is_removed(objects: Objects) -> None:
    mirror = Mirror(f"{BUCKET}/c.h5")
    shards = mirror.path.with_name("c.h5.shards")
    shards.mkdir(parents=True)
    (shards / "0.h5").write_bytes(b"a shard")
    mirror.put(shards / "0.h5")
    assert objects.names() == ["c.h5.shards/0.h5"]
    mirror.path.write_bytes(b"joined")
    (shards / "0.h5").unlink()
    objects.asked.clear()
    mirror.push([mirror.path])
    assert objects.names() == ["c.h5"]
    assert [method for method, _ in objects.asked if method in ("PUT", "DELETE", "POST")] == ["PUT", "DELETE"]
    # Nothing is put twice, and of a copy that is lost the objects are fetched.
    objects.asked.clear()
    mirror.push([mirror.path])
    assert objects.asked == []
    mirror.path.unlink()
    mirror.pull()
    assert hashlib.sha256(mirror.path.read_bytes()).digest() == hashlib.sha256(b"joined").digest()
