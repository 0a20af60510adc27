"""Greedy decoding: the most likely next tag at every step."""

from __future__ import annotations

import torch

from ranktag.decoding.stepper import InitialState, Stepper
from ranktag.models.ranking import Limits, RankedTags


def greedy(stepper: Stepper, image: InitialState, limits: Limits) -> RankedTags:
    """The most likely next tag at every step; score = p_t of the tag given the image and the tags before it."""
    n = len(image.h)
    tags = torch.full((n, limits.longest), -1, device=stepper.device)
    scores = torch.zeros((n, limits.longest), device=stepper.device)
    rows = torch.arange(n, device=stepper.device)
    gates, h, c, given = image
    for t in range(limits.longest):
        prefix = torch.cat([given[rows], tags[rows, :t]], dim=1)
        best, tag = stepper.log_probabilities(h, prefix, limits).max(dim=1)
        unfinished = tag < stepper.vocabulary
        if not bool(unfinished.all()):
            # Finished images leave the batch.
            rows, gates, h, c, tag, best = (x[unfinished] for x in (rows, gates, h, c, tag, best))
            if not len(rows):
                break
        tags[rows, t] = tag
        scores[rows, t] = best.exp()
        if t + 1 < limits.longest:
            h, c = stepper.step(gates, h, c, None, tag)
    return RankedTags(tags.cpu().numpy(), scores.cpu().numpy())
