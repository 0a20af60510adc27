"""What is handed out to nodes, together and again; by hand-made runs, without a cluster."""

from __future__ import annotations

import pytest

from ranktag.benchmarks.cluster import benchmark_cluster
from ranktag.config import ClusterBenchmarkConfig
from ranktag.feature_cache.shards import cut
from ranktag.features.executors import _runs
from ranktag.features.executors._lines import Lines
from ranktag.features.executors._runs import Run, Runs, numbers_as_text


def numbers(run: Run | None) -> list[int]:
    assert run is not None
    return [shard.number for shard in run.shards]


@pytest.mark.parametrize(
    ("numbers", "text"), [([], ""), ([3], "3"), ([0, 1, 2], "0-2"), ([0, 1, 5, 7, 8], "0-1,5,7-8")]
)
def test_numbers_as_they_are_told(numbers: list[int], text: str) -> None:
    assert numbers_as_text(numbers) == text


def test_at_first_every_node_gets_its_share() -> None:
    runs = Runs(cut(80, 10), retries=3)
    assert numbers(runs.next(2)) == [0, 1, 2, 3] and numbers(runs.next(2)) == [4, 5, 6, 7]
    assert runs.next(2) is None and not runs.ended


def test_runs_take_minutes_once_the_speed_is_known_and_no_more_wait_than_work() -> None:
    runs = Runs(cut(100_000, 10), retries=3)
    first = runs.next(2)
    assert first is not None and len(first.shards) == _runs.IMAGES // 10
    # Ten images a second: a shard a second.
    assert runs.done(first, 1020, 102.0) == 1020
    sizes = []
    while (run := runs.next(2)) is not None:
        sizes.append(len(run.shards))
    assert sizes == [_runs.SECONDS] * 4
    # Towards the end runs are shorter, but not too short.
    runs = Runs(cut(5000, 10), retries=3)
    run = runs.next(1)
    sizes = []
    while run is not None:
        sizes.append(len(run.shards))
        runs.done(run, 10 * len(run.shards), float(len(run.shards)))
        run = runs.next(1)
    assert sizes == [102, 199, 100, 60, 39] and runs.ended and runs.images_done == 5000


def test_a_shard_that_failed_is_tried_alone_elsewhere_and_given_up_at_last() -> None:
    shards = cut(40, 10)
    runs = Runs(shards, retries=2)
    run = runs.next(1)
    assert run is not None and numbers(run) == [0, 1, 2, 3]
    # It failed at shard 1: 0 is there.
    runs.failed(run, shards[:1], "killed", "node a")
    assert runs.images_done == 0 and not runs.in_flight
    others = runs.next(1)
    assert others is not None and numbers(others) == [0, 2, 3] and others.avoid == set()
    assert runs.done(others, 20, 2.0) == 30
    for node in ("b", "c"):
        alone = runs.next(1)
        assert alone is not None and numbers(alone) == [1] and "node a" in alone.avoid and node not in alone.avoid
        runs.failed(alone, [], f"killed at {node}", node)
    assert runs.ended and runs.given_up_text == "1" and runs.reason == "killed at c" and runs.images_done == 30


def test_what_is_seen_is_counted_once() -> None:
    runs = Runs(cut(25, 10), retries=0)
    run = runs.next(1)
    assert run is not None
    assert runs.see(run.shards[:1]) == 10 and runs.see(run.shards[:2]) == 10
    assert runs.done(run, 25, 1.0) == 5 and runs.images_done == 25


def test_nobody_is_left() -> None:
    runs = Runs(cut(30, 10), retries=5)
    run = runs.next(1)
    runs.give_up()
    assert not runs.ended, "one is still at work"
    assert run is not None
    runs.failed(run, [], "no photos")
    runs.give_up()
    assert runs.ended and runs.given_up_text == "0-2"


def test_lines_come_as_they_are_written() -> None:
    import os

    reader, writer = os.pipe()
    lines = Lines(reader)
    assert lines.read(0) == []
    os.write(writer, b"one\ntw")
    assert lines.read(0) == [b"one"]
    os.write(writer, b"o\nthree\n")
    assert lines.read(0) == [b"two", b"three"] and not lines.ended
    os.close(writer)
    assert lines.read(0) == [] and lines.ended
    os.close(reader)


def test_a_simulated_cluster_loses_only_what_was_in_work() -> None:
    config = ClusterBenchmarkConfig(images=1_000_000, rate=1000.0, start=0.0, losses=0.0)
    found = benchmark_cluster(4, config)
    # A million images at four thousand a second; the last shards may wait for each other.
    assert 250.0 <= found.hours * 3600 < 320 and found.lost == 0 and found.wasted == 0
    # A machine starts once, as it keeps its network: a million images at a thousand a second, and ten seconds.
    assert benchmark_cluster(1, config.replace(start=10.0)).hours * 3600 == pytest.approx(1010)
    lossy = benchmark_cluster(4, config.replace(losses=20.0))
    assert lossy.lost > 0 and lossy.hours > found.hours and lossy.given_up == 0
    # At most a shard is done twice for each machine that was lost.
    assert 0 < lossy.wasted <= lossy.lost * 1024 / 1_000_000
    assert benchmark_cluster(4, config.replace(losses=20.0)) == lossy
