"""What is said of a training whose numbers are not finite any more."""

from __future__ import annotations

from torch import Tensor

from ranktag.errors import RanktagError
from ranktag.training_data.load import TrainingData


def divergence(what: str, data: TrainingData, rows: Tensor, most: int) -> RanktagError:
    """The error that says what is not finite.

    rows: in the cache, of the images that it may come of; so many of them are named at most.
    """
    ids = [data.joined.store.image_id[row] for row in rows.unique().tolist()[:most]]
    return RanktagError(f"{what} is not finite; lower --lr or look at these images: {', '.join(ids)}")
