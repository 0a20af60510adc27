"""What every stage makes of tiny inputs, as SHA-256: run before and after a change that must change nothing.

    python tests/fingerprints.py FOLDER      prints JSON: name -> digest

Only the functions of ``ranktag`` and the settings of ``ranktag.config`` are used, so that
the script runs on any version. The digests are of one machine: processors round otherwise.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from PIL import Image

from ranktag import decode, evaluate, extract_features, train
from ranktag.config import DecodingConfig, EvaluationConfig, ExtractionConfig, TrainingConfig

# Sums that several threads share out differ in their last bits from run to run.
torch.set_num_threads(1)

IMAGES = 12
MODELS = ("every-step", "initial-state", "linear", "knn", "popularity")
TAGS = ("sky", "tree", "dog", "cat", "car")
DECODINGS = {
    "greedy": DecodingConfig(decode="greedy"),
    "greedy-repeats": DecodingConfig(decode="greedy", allow_repeats=True, num_tags=4),
    "beam": DecodingConfig(decode="beam", beam_size=3),
    "mbr": DecodingConfig(samples=64),
    "mbr-linear": DecodingConfig(gain="linear", samples=16, num_tags=3),
    "mbr-binary": DecodingConfig(gain="binary", samples=16, max_tags=2),
}
EXTRACTION = ExtractionConfig(weights="random:0", precision="fp32", device="cpu", shard_size=5, batch_size=4, workers=0)
TRAINING = TrainingConfig(
    members=2, projection=4, hidden=8, embedding=4, epochs=6, batch_size=4, seed=1, precision="fp32", device="cpu"
)


def draw(folder: Path) -> None:
    """Photos and three people's lists: what is said follows from what is drawn."""
    (folder / "photos").mkdir(parents=True)
    random = np.random.default_rng(0)
    lines = ["image_id,split,tags"]
    for number in range(IMAGES):
        pixels = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        pixels[:, :, number % 3] //= 4
        Image.fromarray(pixels).save(folder / "photos" / f"{number:02}.png")
        split = "test" if number % 6 == 5 else "val" if number % 6 == 4 else "train"
        for person in range(1 + number % 3):
            count = 1 + (number + person) % 3
            tags = [TAGS[(number % 3 + place * (1 + person)) % len(TAGS)] for place in range(count)]
            lines.append(f"{number:02}.png,{split},{'|'.join(tags)}")
    (folder / "photos" / "broken.png").write_bytes(b"no image")
    (folder / "tags.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make(folder: Path) -> None:
    """Everything, in ``folder``: photos, tags.csv, cache.h5, runs/, predictions/, report/."""
    draw(folder)
    cache, tags = folder / "cache.h5", folder / "tags.csv"
    extract_features(folder / "photos", cache, EXTRACTION)
    for model in MODELS:
        train(cache, tags, folder / "runs" / model, TRAINING.replace(model=model))
    predict(folder, cache)
    predictions = sorted((folder / "predictions").glob("*-mbr.csv"))
    evaluate(predictions, tags, folder / "report", EvaluationConfig(resamples=200))


def predict(folder: Path, cache: Path, runs: Path | None = None) -> None:
    """The predictions of every model by every decoder, in ``folder/predictions``."""
    for model in MODELS:
        lstm = model in ("every-step", "initial-state")
        for name, config in DECODINGS.items() if lstm else [("mbr", DecodingConfig())]:
            for format in ("long", "wide"):
                output = folder / "predictions" / f"{model}-{name}{'' if format == 'long' else '-wide'}.csv"
                run = (runs or folder / "runs") / model
                decode(cache, run, output, config.replace(precision="fp32", device="cpu"), format=format)


def weights(run: Path) -> dict[str, torch.Tensor]:
    """The trained weights of a run folder."""
    content: dict[str, Any] = torch.load(run / "model.pt", weights_only=True)
    found: dict[str, torch.Tensor] = content["weights"]
    return found


def digests(folder: Path) -> dict[str, str]:
    """Name -> SHA-256 of everything that ``make`` made."""
    found = {}
    with h5py.File(folder / "cache.h5") as file:
        parts = [
            file["features"][:],
            file["valid"][:],
            *(file[name].asstr()[:].tolist() for name in ("image_id", "error")),
        ]
        found["cache"] = _sha256(*(p.tobytes() if isinstance(p, np.ndarray) else "\n".join(p).encode() for p in parts))
    for model in MODELS:
        tensors = weights(folder / "runs" / model)
        found[f"weights of {model}"] = _sha256(
            *(part for n in sorted(tensors) for part in (n.encode(), tensors[n].numpy().tobytes()))
        )
    for path in sorted([*folder.glob("predictions/*.csv"), *folder.glob("report/*.csv")]):
        found[f"{path.parent.name}/{path.name}"] = _sha256(path.read_bytes())
    return found


def _sha256(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
    print(json.dumps(digests(Path(sys.argv[1])), indent=1))
