"""``ranktag prepare --download voc2007``: torchvision's download, from a server on loopback."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from outcome import Outcome
from torchvision.datasets import voc

from ranktag.tags.lists import read_tag_lists

Ranktag = Callable[..., Outcome]
FILES = {
    "2007": ("VOCtrainval_06-Nov-2007.tar", "train", "000012"),
    "2007-test": ("VOCtest_06-Nov-2007.tar", "test", "000001"),
}


class Silent(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without writing a line a request."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def archive(part: str, name: str) -> bytes:
    """A tar file with one annotated image of one split, in the layout of VOC 2007."""
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    files = {
        f"Annotations/{name}.xml": (
            f"<annotation><filename>{name}.jpg</filename><object><name>car</name>{box}</object></annotation>"
        ),
        f"ImageSets/Main/{part}.txt": f"{name}\n",
        f"JPEGImages/{name}.jpg": "",
        **({"ImageSets/Main/trainval.txt": f"{name}\n", "ImageSets/Main/val.txt": ""} if part == "train" else {}),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"VOCdevkit/VOC2007/{path}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder that a server on loopback serves; torchvision's table of URLs and MD5 sums is turned to it."""
    folder = tmp_path / "served"
    folder.mkdir()
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=str(folder)))
    for key, (file, part, name) in FILES.items():
        (folder / file).write_bytes(archive(part, name))
        md5 = hashlib.md5((folder / file).read_bytes()).hexdigest()
        patched = {**voc.DATASET_YEAR_DICT[key], "url": f"http://127.0.0.1:{server.server_port}/{file}", "md5": md5}
        monkeypatch.setitem(voc.DATASET_YEAR_DICT, key, patched)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_fetches_unpacks_and_prepares(served: Path, tmp_path: Path, ranktag: Ranktag) -> None:
    done = ranktag("prepare", "--download", "voc2007", "--to", tmp_path / "voc", "-o", tmp_path / "tags.csv")
    assert done.code == 0, done
    assert "split: 1 train, 0 val, 1 test" in done.out
    written = read_tag_lists(tmp_path / "tags.csv")
    assert written.lists == {"000001.jpg": [("car",)], "000012.jpg": [("car",)]}
    assert written.split == {"000001.jpg": "test", "000012.jpg": "train"}


def test_without_output_it_only_fetches_and_goes_on_with_what_is_there(
    served: Path, tmp_path: Path, ranktag: Ranktag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = ranktag("prepare", "--download", "voc2007")
    assert done.code == 0, done
    assert (tmp_path / "voc2007" / "VOCdevkit" / "VOC2007" / "JPEGImages" / "000012.jpg").is_file()
    for file in served.iterdir():
        file.unlink()
    assert ranktag("prepare", "--download", "voc2007", "--quiet") == Outcome(0, "", "")


def last_line(outcome: Outcome) -> str:
    """The error; torchvision writes its progress before it."""
    assert outcome.code == 4, outcome
    assert "Traceback" not in outcome.err
    return outcome.err.splitlines()[-1]


def test_errors_name_the_url(served: Path, tmp_path: Path, ranktag: Ranktag) -> None:
    test = voc.DATASET_YEAR_DICT["2007-test"]["url"]
    (served / FILES["2007-test"][0]).unlink()
    call = ("prepare", "--download", "voc2007", "--to", tmp_path / "voc", "-o", tmp_path / "tags.csv")
    error = last_line(ranktag(*call))
    assert error.startswith(f"Error: {test}: cannot be fetched (HTTP Error 404")
    (served / FILES["2007-test"][0]).write_bytes(b"something else")
    assert "File not found or corrupted" in last_line(ranktag(*call))
    assert not (tmp_path / "tags.csv").exists()


def test_no_network_is_one_line(tmp_path: Path, ranktag: Ranktag, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing listens on port 9 of the loopback.
    patched = {**voc.DATASET_YEAR_DICT["2007"], "url": "http://127.0.0.1:9/voc.tar"}
    monkeypatch.setitem(voc.DATASET_YEAR_DICT, "2007", patched)
    outcome = ranktag("prepare", "--download", "voc2007", "--to", tmp_path / "voc")
    outcome.assert_refused(
        "http://127.0.0.1:9/voc.tar: cannot be fetched", f"ranktag prepare voc {tmp_path / 'voc'}", code=4
    )


def test_wrong_calls(tmp_path: Path, ranktag: Ranktag) -> None:
    ranktag("prepare", "--download", "coco").assert_refused("voc2007")
    ranktag("prepare", "--download", "voc2007", "voc", tmp_path, "-o", tmp_path / "t").assert_refused(
        "--download makes the tag lists itself"
    )
    (tmp_path / "t.csv").write_text("precious", encoding="utf-8")
    ranktag("prepare", "--download", "voc2007", "-o", tmp_path / "t.csv").assert_refused("exists already")
