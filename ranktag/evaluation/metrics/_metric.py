"""What a metric is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ranktag.evaluation.matches import Floats

# Where a metric is taken at several: after so many places of the prediction.
CUTOFFS = (1, 3, 5, 10)


@dataclass(frozen=True)
class Ratio:
    """The score is the sum of numerators over all images by that of the denominators; no denominator, no score.

    numerator, denominator: columns of per_image.csv. unit: what the denominator counts.
    """

    numerator: str
    denominator: str
    unit: str


@dataclass(frozen=True)
class Metric:
    """A measure of ranked tags against people's lists.

    title: for people, as it stands within a sentence. per_image: called with (matches)
    or, with ``cutoffs``, (matches, k); returns the images' values, (N,) float64, nan
    only without tags, or, with ``ratio``, their numerators and denominators. place:
    orders the columns everywhere, the smallest first.

    in_text: printed, too. interval_in_text: printed with its interval, and so are its
    differences. on_page: the page's table it stands in, 'scores' or 'details'; '' for
    none. compared_on_page: so are its differences. short: those of the cutoffs that are
    printed and compared; () for all. beside: the score without cutoffs that is shown
    with it. digits: after the point. note: a sentence for the page. scores: what it is of, 'whole' lists, the
    'rest' of lists that are begun, or both.
    """

    title: str
    per_image: Callable[..., Floats | tuple[Floats, Floats]]
    place: int
    cutoffs: tuple[int, ...] = ()
    ratio: Ratio | None = None
    in_text: bool = False
    interval_in_text: bool = False
    on_page: str = "details"
    compared_on_page: bool = False
    short: tuple[int, ...] = ()
    beside: str = ""
    digits: int = 3
    note: str = ""
    scores: tuple[str, ...] = ("whole", "rest")
