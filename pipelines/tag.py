"""``ranktag tag``: photo to ranked tags in one go."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from ranktag.config import ChoiceConfig, DecodingConfig
from ranktag.errors import one_line
from ranktag.pipelines.shared.command import Command
from ranktag.pipelines.shared.console import Report, as_json
from ranktag.pipelines.shared.options import (
    PlacePath,
    config_options,
    failures_as_dicts,
    output_options,
    refuse_decoders_of_baselines,
    refuse_other_decoders_settings,
    refuse_useless_given,
    runs_option,
    say_failures,
)
from ranktag.pipelines.shared.progress import progress
from ranktag.pipelines.shared.startup import imports
from ranktag.tags.given import parse_given
from ranktag.tags.outputs import Output, TaggedPhoto
from ranktag.tags.predictions import PredictedImage


@click.command(cls=Command)
@click.argument("images", type=PlacePath, nargs=-1, required=True)
@runs_option
@click.option(
    "--weights",
    metavar="FILE",
    show_default="those the model was trained on",
    help="Where the network's weights are, if the model was trained on features of a weights file.",
)
@click.option(
    "--given",
    metavar="TAGS",
    show_default="lists from nothing",
    help="The tags that the list of each photo begins with, as beach,dog; printed are those that come next.",
)
@output_options("table", "printed; beside the photos, of a format that does that", with_photos=False)
@config_options(DecodingConfig)
def command(
    images: tuple[str | Path, ...],
    runs: tuple[Path, ...],
    weights: str | None,
    given: str | None,
    choice: ChoiceConfig,
    make_output: Callable[..., Output],
    config: DecodingConfig,
) -> Report:
    """Print or write the ranked tags of IMAGES: photos, or folders and tars of photos.

    The network, layer, weights and preprocessing are those the model was trained on. Photos
    that cannot be read are listed on stderr; the exit code is then 1.
    """
    refuse_other_decoders_settings(config)
    refuse_useless_given(given is not None)
    begun = () if given is None else parse_given(given)
    with imports():
        from ranktag.tagging import tag_images
    refuse_decoders_of_baselines(runs)

    output = make_output()
    found = tag_images(
        images, runs, config, choice=choice, weights=weights, given=begun, progress=progress(quiet=False)
    )
    tagged: list[PredictedImage] = []
    failures: list[dict[str, str]] = []

    def readable() -> Iterator[PredictedImage]:
        for image in found:
            if image.error:
                failures.append({"image": image.path, "error": image.error})
                click.echo(f"Error: {one_line(image.path)}: {one_line(image.error)}", err=True)
            else:
                yield TaggedPhoto(image.path, image.tags, image.photo, image.name)
                # Whoever waits for the lines gets each as soon as it is known.
                sys.stdout.flush()

    if as_json() and output.prints:
        tagged += readable()
    else:
        output.write(readable(), sys.stdout)
    facts = {
        "output": output.path,
        "images": [_as_dict(image) for image in tagged],
        "failures": failures,
        "not_written": failures_as_dicts(output),
    }
    return Report(facts, code=say_failures(output) or int(bool(failures)))


def _as_dict(image: PredictedImage) -> dict[str, object]:
    return {"image": image.image_id, "tags": [{"tag": tag, "probability": score} for tag, score in image.tags]}
