"""Keystroke saving: the share of tags that a person picks instead of typing, with five suggestions on screen.

A person writes the rest g_1..g_n of a list in its order. On screen stand the first five tags of the prediction that
are not in the list yet; the next tag is typed if it is none of them:

    saving = #{t : place(g_t) - #{s < t : place(g_s) < place(g_t)} <= 5} / n

pooled over all people's lists: tags picked / tags written. (place: in the prediction, infinite for a tag that is not
there. The suggestions are those after the given tags; a tagger that looks again after every tag can only be better
informed.)
"""

from __future__ import annotations

import numpy as np

from ranktag.evaluation.matches import Floats, Matches
from ranktag.evaluation.metrics._metric import Metric, Ratio

ON_SCREEN = 5


def per_image(matches: Matches) -> tuple[Floats, Floats]:
    """Tags picked, and tags written, summed over an image's people: (N,) and (N,)."""
    place = matches.hit_place.astype(np.int64)
    # Hits of a list follow one another by rank: take off those before that stood above.
    for step in range(1, len(matches.hit_list)):
        same = np.flatnonzero(matches.hit_list[step:] == matches.hit_list[:-step])
        if not len(same):
            break
        place[same + step] -= matches.hit_place[same] < matches.hit_place[same + step]
    picked = matches.sum_hits(place <= ON_SCREEN)
    counts = [np.bincount(matches.image, values, minlength=matches.images) for values in (picked, matches.length)]
    return counts[0].astype(np.float64), counts[1].astype(np.float64)


METRIC = Metric(
    "keystroke saving",
    per_image,
    place=55,
    ratio=Ratio("tags_picked", "tags_written", unit="tags"),
    in_text=True,
    on_page="scores",
    compared_on_page=True,
    scores=("rest",),
    note="Keystroke saving is the share of tags that are picked instead of typed, with five suggestions on screen.",
)
