"""Where the operating system lacks what is needed, there is one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ranktag.files import platform

# Runs what follows in an interpreter that lacks a module or functions of os.
WITHOUT = """
import os, sys
for name in sys.argv[1].split(","):
    if name.startswith("os."):
        if hasattr(os, name[3:]):
            delattr(os, name[3:])
    else:
        sys.modules[name] = None
"""
COMMAND = """
from ranktag.pipelines import cli
entry = getattr(cli, sys.argv[2])
sys.argv = sys.argv[2:]
entry()
"""
CALLS = [
    ("main", "inspect", "c.h5"),
    ("main", "train-from-cache", "c.h5", "t.csv", "-o", "run"),
    ("extract_features", "photos", "-o", "c.h5"),
    ("train_from_cache", "c.h5", "t.csv", "-o", "run"),
    ("export_tags", "c.h5", "--model", "run", "-o", "p.csv"),
]


def run(lacks: str, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT + code, lacks, *arguments]
    # Not the repository, whose folder ranktag/ python -c would take for the installed package.
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_a_command_says_it_in_one_line(call: tuple[str, ...]) -> None:
    done = run("fcntl,resource,os.fork,os.sched_getaffinity,os.getloadavg", COMMAND, *call)
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1, done
    assert "this Python has no fcntl, no resource, no os.fork; on Windows" in done.stderr, done


@pytest.mark.parametrize("lacks", ["fcntl", "resource", "os.fork"])
def test_each_is_named_alone(lacks: str) -> None:
    done = run(lacks, COMMAND, "main", "inspect", "c.h5")
    assert done.returncode == 2 and f"this Python has no {lacks};" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "module", ["files.lock", "files.replacement", "files.isolation", "images.batches", "feature_cache.store"]
)
def test_importing_anything_says_it(module: str) -> None:
    code = f"""
from ranktag.errors import RanktagError
try:
    import ranktag.{module}
except RanktagError as error:
    print(error)
"""
    assert "ranktag needs Linux or macOS" in run("fcntl", code).stdout


def test_the_help_is_there_without_any() -> None:
    done = run("fcntl,resource,os.fork", COMMAND, "main", "--help")
    assert done.returncode == 0 and "extract-features" in done.stdout and not done.stderr


def test_processors_are_counted_where_nobody_knows_which_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert platform.processors() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert platform.processors() == os.cpu_count()


def test_a_task_has_the_processors_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    assert platform.processors() == 6
    monkeypatch.setattr(platform, "_quotas", lambda: [8, 3])
    assert platform.processors() == 3


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "250000 100000"}, [3]),
        ("0::/\n", {"cpu.max": "max 100000"}, []),
        # Of the group above, too; the path of the host within a container leads nowhere.
        ("0::/pod/task\n", {"pod/cpu.max": "400000 100000", "pod/task/cpu.max": "max 100000"}, [4]),
        ("0::/elsewhere\n", {"cpu.max": "200000 100000"}, [2]),
        (
            "7:cpu,cpuacct:/slurm/job\n3:memory:/slurm/job\n",
            {
                "cpu,cpuacct/slurm/job/cpu.cfs_quota_us": "150000\n",
                "cpu,cpuacct/slurm/job/cpu.cfs_period_us": "100000\n",
            },
            [2],
        ),
        ("7:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, []),
        ("", {}, []),
    ],
)
def test_quotas_of_control_groups(tmp_path: Path, groups: str, files: dict[str, str], expected: list[int]) -> None:
    (tmp_path / "cgroup").write_text(groups)
    for name, text in files.items():
        (tmp_path / "mounted" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mounted" / name).write_text(text)
    assert platform._quotas(tmp_path / "cgroup", tmp_path / "mounted") == expected
