"""``model.pt``: a trained model with everything that decoding needs but a feature cache.

A plain dict that ``torch.load(weights_only=True)`` accepts, so that nothing in the
file is run: the fields of ``Checkpoint``, with the model as its kind ('every-step',
'linear', ...), its config and its state dict.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ranktag import registry
from ranktag.config import BASELINE_FOLDER
from ranktag.errors import Damaged, Mismatch, NotFound, RanktagError, unreadable
from ranktag.feature_cache.provenance import Provenance
from ranktag.feature_cache.store import FeatureStore
from ranktag.files.atomic import atomic_path
from ranktag.models.baselines import mlp
from ranktag.models.baselines._shared import Baseline
from ranktag.models.lstm import FORMS, ModelConfig, Tagger, build_model
from ranktag.models.ranking import Head
from ranktag.tags.vocabulary import Vocabulary
from ranktag.version import __version__

FORMAT, FORMAT_VERSION = "ranktag-model", 1
MODEL_FILE = "model.pt"
ARCHIVE = b"PK\x03\x04"  # how a zip file begins


Model = Tagger | Baseline


@dataclass(frozen=True)
class Checkpoint:
    """A trained model.

    kind: as in ``--model``. longest: tags in the longest training list. split: split ->
    image ids, as trained with. provenance: of the features trained on. training: the
    training config. validation: metrics of the kept weights.
    """

    kind: str
    model: Model
    vocabulary: Vocabulary
    longest: int
    split: Mapping[str, list[str]]
    provenance: Provenance
    training: Mapping[str, Any]
    validation: Mapping[str, float]

    def refuse_other_features(self, store: FeatureStore, run: Path, *, force: bool = False) -> None:
        """Raise RanktagError if the cache's features are not what the model was trained on.

        force: only those of another width, with which nothing can be computed.
        """
        differences = [] if force else self.provenance.differences(store.provenance)
        remedy = "use a cache of the same making, or pass --force"
        width = self.model.config.features
        if store.width != width:
            differences.append(f"width: {width} / {store.width}")
            remedy = "use a cache of the same making"
        if differences:
            raise Mismatch(
                f"{store.path}: its features are not those that {run} was trained on ({'; '.join(differences)}); "
                f"{remedy}"
            )


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write ``model.pt`` in one piece."""
    model = checkpoint.model
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "ranktag_version": __version__,
        "model": checkpoint.kind,
        "model_config": dataclasses.asdict(model.config),
        "weights": _contents(model),
        "vocabulary": list(checkpoint.vocabulary.tags),
        "longest": checkpoint.longest,
        "split": {split: list(ids) for split, ids in checkpoint.split.items()},
        "provenance": dataclasses.asdict(checkpoint.provenance),
        "training_config": dict(checkpoint.training),
        "validation": dict(checkpoint.validation),
    }
    if model.temperature is not None:
        content["temperature"] = model.temperature
    if not isinstance(model, Baseline):
        content["people"] = list(model.people)
        if model.head is not None:
            content["head"] = _head_content(model.head)
    write_tensors(path, content)


def _head_content(head: Head) -> dict[str, Any]:
    assert isinstance(head.model, mlp.Model), "what is trained beside an LSTM"
    config = dataclasses.asdict(head.model.config)
    return {"weight": head.weight, "model_config": config, "weights": _contents(head.model)}


def _contents(model: nn.Module) -> dict[str, Tensor]:
    """Its weights and buffers, each a tensor of its own, row by row."""
    return {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.state_dict().items()
    }


def load_checkpoint(run: Path) -> Checkpoint:
    """The model of a run folder (or of a ``model.pt``), on the processor.

    Raises RanktagError for anything but a whole checkpoint of this format and version;
    nothing in the file is run.
    """
    path = run / MODEL_FILE if run.is_dir() else run
    if not path.is_file():
        remedy = "train one with 'train-from-cache'"
        if (run / "state.pt").exists():
            remedy = "its training has not come to a first validation; go on with 'train-from-cache --resume'"
        raise NotFound(
            f"{run}: holds no {MODEL_FILE}; {remedy}" if run.is_dir() else f"{run}: no such run folder; {remedy}"
        )
    content = read_tensors(path, "model")
    if content.get("format") != FORMAT:
        raise RanktagError(f"{path}: is not a model of ranktag; name a run folder of 'train-from-cache'")
    if content.get("format_version") != FORMAT_VERSION:
        raise Mismatch(
            f"{path}: is of model format {content.get('format_version')}, "
            f"this ranktag ({__version__}) reads {FORMAT_VERSION}; train it again or install the ranktag that wrote it"
        )
    try:
        vocabulary = Vocabulary(tuple(_strings(content["vocabulary"])))
        kind = content["model"]
        # On the meta device nothing is allocated: a config in the file cannot exhaust the memory.
        with torch.device("meta"):
            model = _build(kind, content["model_config"])
        model.load_state_dict(content["weights"], assign=True)
        if model.config.vocabulary != len(vocabulary):
            raise ValueError(f"{model.config.vocabulary} outputs for {len(vocabulary)} tags")
        if "temperature" in content:
            model.temperature = _read_temperature(content["temperature"])
        if not isinstance(model, Baseline):
            if "head" in content:
                model.head = _read_head(content["head"], len(vocabulary))
            # Of before there were any, no checkpoint names people.
            model.people = tuple(_strings(content.get("people", [])))
            if len(model.people) != model.config.people:
                raise ValueError(f"{model.config.people} people, {len(model.people)} names")
        longest = int(content["longest"])
        if longest < 1:
            raise ValueError(f"{longest} tags in the longest list")
        return Checkpoint(
            kind,
            model.eval().requires_grad_(False),
            vocabulary,
            longest,
            {str(split): _strings(ids) for split, ids in content["split"].items()},
            Provenance(**content["provenance"]),
            dict(content["training_config"]),
            dict(content["validation"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError, RanktagError) as error:
        raise Damaged(f"{path}: damaged: {str(error)[:160]}; train it again") from None


def _read_head(content: Mapping[str, Any], vocabulary: int) -> Head:
    """What stands beside an LSTM. Raises what ``load_checkpoint`` takes for damage."""
    with torch.device("meta"):
        model = mlp.Model(mlp.Model.Config.read(content["model_config"]))
    model.load_state_dict(content["weights"], assign=True)
    weight = float(content["weight"])
    if model.config.vocabulary != vocabulary or not 0.0 <= weight <= 1.0:
        raise ValueError(f"a head of {model.config.vocabulary} tags and weight {weight}")
    return Head(model.eval().requires_grad_(False), weight)


def _read_temperature(value: Any) -> float:
    temperature = float(value)
    if not 0.0 < temperature < math.inf:
        raise ValueError(f"a temperature of {temperature}")
    return temperature


def _build(kind: str, config: Mapping[str, Any]) -> Model:
    """A model to load weights into. Raises TypeError for a config of other names, RanktagError for another kind."""
    if kind in FORMS:
        return build_model(ModelConfig(**config))
    baseline = registry.load(BASELINE_FOLDER, kind).Model
    model: Baseline = baseline(baseline.Config.read(config))
    return model


def write_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write a dict with ``torch.save``, in one piece. Raises OSError where the disk does not take it."""
    # By way of memory: on a full disk torch's own writer raises RuntimeErrors of its insides, and given a path it
    # would write the temporary file's name into the archive.
    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_tensors(path: Path, what: str) -> dict[str, Any]:
    """The dict in a file written by ``torch.save``; nothing in it is run. Raises RanktagError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            # Torch would go on with its old format, which is no archive.
            if file.read(len(ARCHIVE)) != ARCHIVE:
                raise Damaged(f"{path}: damaged or not a {what} of ranktag; train it again")
    except OSError as error:
        raise unreadable(path, error, "train it again") from None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # What the unpickler raises on damaged bytes has no common base: whatever it is, the file cannot be used.
    except Exception as error:  # noqa: BLE001 - see above
        reason = str(error).strip().split("\n")[0][:120] or type(error).__name__
        raise Damaged(f"{path}: damaged or not a {what} of ranktag ({reason}); train it again") from None
    if not isinstance(content, dict):
        raise RanktagError(f"{path}: is not a {what} of ranktag; train it again")
    return content


def _strings(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("expected a list of strings")
    return values
