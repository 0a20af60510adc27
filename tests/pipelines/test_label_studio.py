"""The loop through Label Studio: our tasks in, people's rankings out, a model trained on them.

Once with a real server, where the command ``label-studio`` is installed (in an environment of its own:
name it in the variable LABEL_STUDIO), and once with ``label_studio_export.json``, which such a server (1.23.2)
gave for eight drawn scenes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from making import make_cache, make_tags
from outcome import Outcome

from ranktag.config import DemoConfig
from ranktag.recipes.demo_scenes import draw_scenes
from ranktag.tags.lists import read_tag_lists

Ranktag = Callable[..., Outcome]
SERVER = os.environ.get("LABEL_STUDIO") or shutil.which("label-studio")
EXPORT = Path(__file__).with_name("label_studio_export.json")
TOKEN = "0123456789abcdef0123456789abcdef01234567"
LABEL_STUDIO_STARTS_IN = 300  # seconds, on a busy machine


class Server:
    """A Label Studio of its own, on this machine alone."""

    def __init__(self, url: str) -> None:
        self.url = url

    def call(self, path: str, data: object = None, method: str | None = None) -> Any:
        """What its API answers: JSON, or bytes of anything else."""
        request = urllib.request.Request(
            self.url + path,
            None if data is None else json.dumps(data).encode(),
            {"Authorization": f"Token {TOKEN}", "Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            content = answer.read()
            return json.loads(content) if "json" in answer.headers.get("Content-Type", "") else content


@contextlib.contextmanager
def serving(folder: Path, photos_root: Path) -> Iterator[Server]:
    """A server whose data are in ``folder`` and which may show files below ``photos_root``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    settings = {
        "LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED": "true",
        "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT": str(photos_root),
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder),
        "LATEST_VERSION_CHECK": "false",
        "COLLECT_ANALYTICS": "false",
        "DJANGO_DB": "sqlite",
    }
    user = ("--username", "one@example.org", "--password", "not-a-secret-1", "--user-token", TOKEN)
    options = ("--no-browser", "--internal-host", "127.0.0.1", "--port", port, "--data-dir", str(folder))
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [str(SERVER), "start", *options, *user, "--enable-legacy-api-token"],
            env={**os.environ, **settings},
            stdout=log,
            stderr=log,
        )
    try:
        server, end = Server(f"http://127.0.0.1:{port}"), time.monotonic() + LABEL_STUDIO_STARTS_IN
        while True:
            with contextlib.suppress(OSError):
                server.call("/health")
                break
            assert process.poll() is None and time.monotonic() < end, (folder / "log").read_text()[-2000:]
            time.sleep(0.5)
        yield server
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def drawn(tmp_path: Path, ranktag: Ranktag) -> Path:
    """A folder with photos, their cache, and a model that knows a few tags."""
    draw_scenes(tmp_path / "photos", tmp_path / "drawn.csv", DemoConfig(scenes=20))
    ids = sorted(path.name for path in (tmp_path / "photos").iterdir())
    make_cache(tmp_path / "cache.h5", ids)
    make_tags(tmp_path / "first.csv", {i: [["house", "tree", "cloud", "sun"][n % 3 :]] for n, i in enumerate(ids)})
    trained = ranktag(
        "train-from-cache", tmp_path / "cache.h5", tmp_path / "first.csv", "-o", tmp_path / "first", "--model", "linear"
    )
    assert trained.code == 0, trained
    return tmp_path


def rankings(tags: Sequence[str]) -> list[list[str]]:
    """What two people make of the tags that they are shown: one turns them round, one takes the second only."""
    return [list(reversed(tags)), [tags[1]]]


def result(ranked: Sequence[str], offered: Sequence[str]) -> list[dict[str, Any]]:
    """What the page submits: the bucket of ranked tags, and under ``_`` those that were left where they lay."""
    buckets = {"ranked": ranked, "_": [tag for tag in offered if tag not in ranked]}
    return [
        {
            "id": "ranking",
            "from_name": "rank",
            "to_name": "tags",
            "type": "ranker",
            "origin": "manual",
            "value": {"ranker": buckets},
        }
    ]


def import_tasks(server: Server, made: Path, photos: Path) -> int:
    """A project with the configuration, the folder of photos and the tasks that export-tags wrote; its number."""
    interface = (made / "labeling-config.xml").read_text(encoding="utf-8")
    project = server.call("/api/projects/", {"title": "photos", "label_config": interface})["id"]
    server.call(
        "/api/storages/localfiles/", {"project": project, "title": "photos", "path": str(photos), "use_blob_urls": True}
    )
    tasks = json.loads((made / "tasks.json").read_text(encoding="utf-8"))
    answer = server.call(f"/api/projects/{project}/import?return_task_ids=true", tasks)
    assert (answer["task_count"], answer["prediction_count"]) == (len(tasks), len(tasks))
    return int(project)


def rank_in(server: Server, project: int) -> dict[str, list[list[str]]]:
    """Two people rank the tags of all tasks but one, which they skip. What they said of each photo, by its address."""
    second = server.call("/api/users/", {"email": "two@example.org", "username": "two"})["id"]
    tasks = server.call(f"/api/tasks/?project={project}&page_size=100&fields=all")["tasks"]
    said: dict[str, list[list[str]]] = {}
    for number, task in enumerate(sorted(tasks, key=lambda task: task["id"])):
        (prediction,) = server.call(f"/api/predictions/?task={task['id']}")
        offered = prediction["result"][0]["value"]["ranker"]["ranked"]
        assert offered == [item["id"] for item in task["data"]["items"]]
        if number == 0:
            answer = {"result": result(offered, offered), "was_cancelled": True}
            server.call(f"/api/tasks/{task['id']}/annotations/", answer)
            continue
        said[task["data"]["image"]] = rankings(offered)
        for person, ranked in zip(({}, {"completed_by": second}), rankings(offered)):
            server.call(f"/api/tasks/{task['id']}/annotations/", {"result": result(ranked, offered), **person})
    return said


def train_on(ranktag: Ranktag, export: Path, folder: Path) -> Mapping[str, Sequence[Sequence[str]]]:
    """From the export to a model's tags. The lists that were read."""
    tags, photos = folder / "ranked.csv", folder / "photos"
    prepared = ranktag("prepare", "label-studio", export, "-o", tags, "--images", photos)
    assert prepared.code == 0, prepared
    trained = ranktag("train-from-cache", folder / "cache.h5", tags, "-o", folder / "second", "--model", "linear")
    assert trained.code == 0, trained
    exported = ranktag(
        "export-tags", folder / "cache.h5", "--model", folder / "second", "-o", folder / "p.csv", "--num-tags", 2
    )
    assert exported.code == 0 and "2.00 tags an image" in exported.out, exported
    return read_tag_lists(tags).lists


@pytest.mark.slow
@pytest.mark.skipif(SERVER is None, reason="the command label-studio is not installed (name it in LABEL_STUDIO)")
def test_rankings_made_in_label_studio_train_a_model(ranktag: Ranktag, drawn: Path, tmp_path: Path) -> None:
    made, data = drawn / "made", tmp_path / "server"
    data.mkdir()
    options = ("--format", "label-studio", "--image-url", "/data/local-files/?d=photos/", "--num-tags", 3)
    exported = ranktag("export-tags", drawn / "cache.h5", "--model", drawn / "first", "-o", made, *options)
    assert exported.code == 0, exported
    with serving(data, drawn) as server:
        project = import_tasks(server, made, drawn / "photos")
        said = rank_in(server, project)
        name = urllib.parse.unquote(next(iter(said)).partition("?d=")[2])
        assert server.call(next(iter(said))) == (drawn / name).read_bytes()
        export = server.call(f"/api/projects/{project}/export?exportType=JSON&download_all_tasks=true")
    (drawn / "export.json").write_text(json.dumps(export), encoding="utf-8")
    lists = train_on(ranktag, drawn / "export.json", drawn)
    expected = {image.rpartition("/")[2]: [tuple(tags) for tags in people] for image, people in said.items()}
    assert len(expected) == 19
    assert {image: sorted(people) for image, people in lists.items()} == {
        image: sorted(people) for image, people in expected.items()
    }


def test_what_a_server_exported_trains_a_model(ranktag: Ranktag, drawn: Path) -> None:
    lists = train_on(ranktag, EXPORT, drawn)
    # The first task was skipped; of every other one, two people ranked what the model had named.
    tasks = {task["data"]["image"].rpartition("/")[2]: task for task in json.loads(EXPORT.read_text(encoding="utf-8"))}
    assert list(lists) == list(tasks)[1:] and len(lists) == 7
    assert lists["scene-00001.jpg"] == [("sun", "tree", "cloud"), ("tree",)]
    for image, people in lists.items():
        offered = [item["id"] for item in tasks[image]["data"]["items"]]
        assert [list(tags) for tags in people] == rankings(offered)
