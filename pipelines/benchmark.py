"""``ranktag benchmark``: the speed of each stage as ratios to a reference in the same run."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from pathlib import Path

import click

from ranktag.config import (
    RAY_SETTINGS,
    ClusterBenchmarkConfig,
    DecodingConfig,
    ExtractionConfig,
    TrainingBenchmarkConfig,
)
from ranktag.pipelines.shared.command import HELP, Command
from ranktag.pipelines.shared.console import Report
from ranktag.pipelines.shared.options import FilePath, config_options
from ranktag.pipelines.shared.progress import progress
from ranktag.wording import count as counted

rounds_option = click.option(
    "--rounds",
    type=click.IntRange(1),
    default=3,
    show_default="3 rounds",
    help="How often each is timed, in turn; the medians are shown.",
)


@click.group(context_settings=HELP)
def command() -> None:
    """Time a stage and, in the same run, a reference to compare it with."""


@command.command("extract", cls=Command)
@click.argument("images", type=FilePath, required=False)
@click.option(
    "--count",
    type=click.IntRange(1),
    default=512,
    show_default="512 images",
    help="How many images are extracted in each round.",
)
@rounds_option
@config_options(
    ExtractionConfig,
    without=(*RAY_SETTINGS, "weights", "crops", "worker_index", "worker_count", "executor", "overwrite"),
)
def extract(images: Path | None, count: int, rounds: int, config: ExtractionConfig) -> Report:
    """Time stage one, with random weights, on IMAGES: a folder or a CSV file, or else images drawn for it.

    It is compared with the network alone, as it is here and as its library builds it, and with a plain loop in
    PyTorch, which is timed on 128 images.
    """
    from ranktag.benchmarks.extraction import benchmark_extraction

    found = benchmark_extraction(images, config.replace(weights="random"), count=count, rounds=rounds)
    lines = [
        f"{counted(found.images, 'image')}, {counted(rounds, 'round')}, medians. "
        f"{found.device}, {found.compute_dtype}, batches of {found.batch_size}, "
        f"{counted(found.workers, 'decoding process', 'decoding processes')}."
    ]
    lines += [
        f"end to end        {found.rate('end_to_end'):8.1f} images/s",
        f"bare forward      {found.rate('bare'):8.1f} images/s   "
        f"end to end is {found.times('end_to_end', 'bare'):.3f} of it",
        f"channels_last     {found.rate('channels_last'):8.1f} images/s   "
        f"the bare forward pass is {found.times('bare', 'channels_last'):.2f} times it",
        f"textbook loop     {found.rate('textbook'):8.1f} images/s   "
        f"end to end is {found.times('end_to_end', 'textbook'):.2f} times it",
        f"decoding alone    {found.rate('decoding'):8.1f} images/s   "
        f"end to end is {found.times('end_to_end', 'decoding'):.3f} of it",
    ]
    return Report(found.to_dict(), lines)


@command.command("cluster", cls=Command)
@click.option(
    "--gpus",
    default="1,8,64",
    show_default="1,8,64",
    callback=lambda context, parameter, text: _numbers(text),
    metavar="NUMBERS",
    help="On how many GPUs, several numbers in a row.",
)
@config_options(ClusterBenchmarkConfig)
def cluster(gpus: list[int], config: ClusterBenchmarkConfig) -> Report:
    """Simulate stage one of many images on machines that are taken away now and then.

    Nothing is computed: rates, times and losses are assumptions, and are said with the table.
    What is handed out to whom, and again after a loss, is what --executor ray would do.
    """
    from ranktag.benchmarks.cluster import benchmark_cluster

    found = [benchmark_cluster(number, config) for number in gpus]
    lines = [
        f"Simulated: {counted(config.images, 'image')} at {config.rate:g} images/s a GPU, {config.start:g} s to start "
        f"on a machine, a machine lost {config.losses:g} times an hour,",
        f"noticed after {config.silence:g} s, replaced after {config.replacement:g} s, "
        f"{counted(config.shard_size, 'image')} a shard.",
        "",
        f"{'GPUs':>6}{'hours':>10}{'GPU-hours':>12}{'over the bare computing':>26}{'machines lost':>16}"
        f"{'done twice':>13}{'given up':>11}",
    ]
    for row in found:
        over = row.gpu_hours / (row.ideal_hours * row.gpus) - 1
        lines.append(
            f"{row.gpus:6}{row.hours:10.2f}{row.gpu_hours:12.2f}{over:26.1%}{row.lost:16}{row.wasted:13.3%}"
            f"{row.given_up:11}"
        )
    return Report({"assumptions": config.to_dict(), "simulated": [asdict(row) for row in found]}, lines)


def _numbers(text: str) -> list[int]:
    if not all(part.isdecimal() and int(part) for part in text.split(",")):
        raise click.BadParameter(f"{text}: write whole numbers from 1 on, 1,8,64", param_hint="--gpus")
    return [int(part) for part in text.split(",")]


images_option = click.option(
    "--images", type=click.IntRange(10), default=5000, show_default="5000 images", help="How many images there are."
)
vocabulary_option = click.option(
    "--vocabulary", type=click.IntRange(10), default=400, show_default="400 tags", help="How many tags there are (V)."
)


@command.command("train", cls=Command)
@images_option
@vocabulary_option
@rounds_option
@config_options(
    TrainingBenchmarkConfig,
    without=("model", "members", "min_count", "epochs", "head", "patience", "seed", "split_seed", "max_memory"),
)
def train(images: int, vocabulary: int, rounds: int, config: TrainingBenchmarkConfig) -> Report:
    """Time an epoch of training, on made-up features and lists of 1 to 8 tags.

    It is compared with the model as a textbook would write it in PyTorch.
    """
    from ranktag.benchmarks.training import benchmark_training

    found = benchmark_training(config, images, vocabulary, rounds)
    lines = [
        f"{found.images} images an epoch, {rounds} rounds, medians. "
        f"{found.device}, {found.dtype}, batches of {config.batch_size}, "
        f"{'with' if found.kernels else 'without'} compiled kernels."
    ]
    ours = found.rate("ours")
    lines.append(f"ours                    {ours:8,.0f} images/s")
    for name, text in (
        ("ours_fp32", "ours in float32"),
        ("textbook", "textbook, in memory"),
        ("textbook_h5py", "textbook, h5py rows"),
    ):
        lines.append(f"{text:23} {found.rate(name):8,.0f} images/s   ours is {ours / found.rate(name):.2f} times it")
    default, several = found.rate("default"), found.rate("textbook_default")
    lines.append(f"default training        {default:8,.0f} images/s   three LSTMs of d = H = 256")
    lines.append(f"three of the textbook's {several:8,.0f} images/s   ours is {default / several:.2f} times it")
    validation = statistics.median(found.seconds["validation"]) / statistics.median(found.seconds["ours"])
    lines.append(f"validation on a tenth as many images takes {validation:.2f} of an epoch")
    return Report(asdict(found), lines)


@command.command("decode", cls=Command)
@images_option
@vocabulary_option
@rounds_option
@config_options(DecodingConfig, without=("decode", "gain", "num_tags", "max_tags", "allow_repeats"))
def decode(images: int, vocabulary: int, rounds: int, config: DecodingConfig) -> Report:
    """Time decoding, by a model trained on made-up lists.

    Every decoder works on whole batches and is compared with a textbook's loop over the images: greedy and
    beam with one LSTM of d = H = 512, mbr with three of 256.
    """
    from ranktag.benchmarks.decoding import TEXTBOOK_LISTS, benchmark_decoding

    found = benchmark_decoding(config, images, vocabulary, rounds)
    lines = [
        f"{found.images} images (textbook: {found.textbook_images}, for mbr {found.drawn_images}), {rounds} rounds, "
        f"medians. {found.device}, {found.tags_an_image:.1f} tags an image."
    ]
    for name in ("greedy", "beam"):
        ours, loop = found.rate(name), found.rate(f"textbook_{name}")
        plain = found.rate(f"{name}_fp32")
        lines.append(
            f"{name:7} {ours:8,.0f} images/s, {ours / loop:5.1f} times the textbook's {loop:,.0f}; "
            f"{found.same[name]:.2%} of the lists the same"
        )
        lines.append(
            f"  fp32  {plain:8,.0f} images/s, {plain / loop:5.1f} times; "
            f"{found.same[f'{name}_fp32']:.2%} of the lists the same"
        )
    ours, loop = found.rate("mbr"), found.rate("textbook_mbr")
    way = "following the likely lists" if config.samples is None else f"with {config.samples} drawn lists"
    lines.append(
        f"mbr     {ours:8,.0f} images/s, {ours / loop:5.1f} times the textbook's {loop:,.0f}, which draws "
        f"{TEXTBOOK_LISTS} lists; {found.same['mbr']:.2%} of the first tags the same ({way}, three LSTMs)"
    )
    return Report(asdict(found), lines)


@command.command("scale", cls=Command)
@click.option(
    "--images",
    "sizes",
    type=click.IntRange(20),
    multiple=True,
    default=(2000, 8000),
    show_default="2000 and 8000 images",
    help="How many images there are; again for another size.",
)
@click.option(
    "--width", type=click.IntRange(1), default=4096, show_default="4096 numbers", help="How wide a feature is (D)."
)
@vocabulary_option
@click.option(
    "--folder",
    type=FilePath,
    default=None,
    show_default="the system's temporary one",
    help="Where the files lie meanwhile: twice as much as the largest cache.",
)
def scale(sizes: tuple[int, ...], width: int, vocabulary: int, folder: Path | None) -> Report:
    """Show how time and memory grow with the number of images: of the real commands, on made-up features.

    Training is one epoch of one LSTM, on features that stay on disk; tags are written by greedy decoding. The memory is
    the most that a command held beside pages of files, which the system can drop.
    """
    from ranktag.benchmarks.scale import COMMANDS, benchmark_scale

    head = f"{'command':18} {'images':>10} {'seconds':>9} {'of processors':>14} {'images/s':>9} {'memory':>9}"
    lines = [head]
    told = progress(quiet=False)
    with told.working("Measuring", len(COMMANDS) * len(sizes), "commands"):
        found = benchmark_scale(sizes, width, vocabulary, folder, lambda one: told.advance())
    lines += [
        f"{one.command:18} {one.images:10,} {one.seconds:9.1f} {one.processor_seconds:14.1f} {one.rate:9,.0f} "
        f"{one.gibibytes:5.2f} GiB"
        for one in found
    ]
    return Report({"width": width, "commands": [asdict(one) for one in found]}, lines)
