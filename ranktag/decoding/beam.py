"""Beam search: the most likely of the lists that a beam finds."""

from __future__ import annotations

import torch
from torch import Tensor

from ranktag.decoding.stepper import NEVER, Begun, Stepper
from ranktag.models.ranking import Limits, RankedTags


def beam(stepper: Stepper, image: Begun, limits: Limits, width: int) -> RankedTags:
    """The most likely of the lists that a beam of ``width`` lists finds; scores as in ``greedy``.

    A finished list keeps its place in the beam, and a list that reaches the length
    limit without STOP is an answer like any other.
    """
    n, v, longest, device = len(image.h), stepper.vocabulary, limits.longest, stepper.device
    rows = torch.arange(n, device=device)
    # Of each image's lists, (images, width), the first alone has begun.
    total = torch.full((n, width), NEVER, device=device)
    total[:, 0] = 0.0
    over = total == NEVER
    # What is kept of each list, (images x width, ...), and the state of those that go on, ``live``.
    tags = torch.full((n * width, longest), -1, device=device)
    scores = torch.zeros((n * width, longest), device=device)
    final_tags, final_scores = tags[::width].clone(), scores[::width].clone()
    live = rows * width
    owner, h, c = rows, image.h, image.c
    for t in range(longest):
        # Of each list's ways on only the best ``width`` can be among the best of all. One that is over has one, at no cost.
        best, way = top(stepper.log_probabilities(h, tags[live, :t], limits), width)
        ways = best.shape[1]
        step = torch.full((len(rows) * width, ways), NEVER, device=device)
        step[:, 0] = torch.where(over, 0.0, NEVER).flatten()
        step[live] = best
        onward = torch.full((len(rows) * width, ways), v, device=device)
        onward[live] = way
        total, chosen = top((total.flatten()[:, None] + step).view(len(rows), -1), width)
        tag, score = (x.view(len(rows), -1).gather(1, chosen) for x in (onward, step))
        parent = (torch.arange(len(rows), device=device)[:, None] * width + chosen // ways).flatten()
        # Scores only fall: what stands below a finished list cannot overtake it any more, and is over too.
        over = ((tag == v) | (total == NEVER)).cumsum(dim=1) > 0
        tags, scores = tags[parent], scores[parent]
        said = (~over).flatten().nonzero().squeeze(1)
        tags[said, t] = tag.flatten()[said]
        scores[said, t] = score.flatten()[said].exp()
        finished = over[:, 0] if t + 1 < longest else torch.ones_like(over[:, 0])
        final_tags[rows[finished]], final_scores[rows[finished]] = tags[::width][finished], scores[::width][finished]
        if bool(finished.all()):
            break
        # Where the state of each list's parent stands among the live ones.
        place = torch.empty(len(rows) * width, dtype=torch.int64, device=device)
        place[live] = torch.arange(len(live), device=device)
        kept = (~finished).repeat_interleave(width)
        rows, total, over, tag = rows[~finished], total[~finished], over[~finished], tag[~finished]
        tags, scores, parent = tags[kept], scores[kept], parent[kept]
        live = (~over).flatten().nonzero().squeeze(1)
        h, c = stepper.grow(image, owner, h, c, place[parent[live]], tag.flatten()[live])
        owner = rows.repeat_interleave(width)[live]
    return RankedTags(final_tags.cpu().numpy(), final_scores.cpu().numpy())


def top(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` largest numbers of each row, or all if there are fewer, and their places; of equal ones the first."""
    if values.shape[1] > k:
        best, places = values.topk(k + 1, dim=1)
        equal = best[:, 1:] == best[:, :-1]
        if not bool(equal.any()):
            return best[:, :k], places[:, :k]
        if not bool((equal[:, -1] & (best[:, -1] > NEVER)).any()):
            # topk promises no order among equals: put back in order of place, they are sorted stably.
            places = places[:, :k].sort(dim=1).values
            best, order = values.gather(1, places).sort(dim=1, descending=True, stable=True)
            return best, places.gather(1, order)
    best, places = values.sort(dim=1, descending=True, stable=True)
    return best[:, :k], places[:, :k]
