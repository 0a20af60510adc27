"""Beam search: the most likely of the lists that a beam finds."""

from __future__ import annotations

import torch
from torch import Tensor

from ranktag.decoding.stepper import IMPOSSIBLE, InitialState, Stepper
from ranktag.models.ranking import Limits, RankedTags


def beam(stepper: Stepper, image: InitialState, limits: Limits, width: int) -> RankedTags:
    """The most likely of the lists that a beam of ``width`` lists finds; scores as in ``greedy``.

    A finished list keeps its place in the beam, and a list that reaches the length
    limit without STOP is an answer like any other.
    """
    search = _Search(stepper, image, limits, width)
    for t in range(limits.longest):
        log_p, tags = search.continuations(t)
        parent, tag = search.keep_best(t, log_p, tags)
        finished = search.answer(last=t + 1 == limits.longest)
        if bool(finished.all()):
            break
        search.advance(~finished, parent, tag)
    return search.answers()


class _Search:
    """A beam search under way: of R images without an answer yet, the ``width`` most likely prefixes.

    rows: (R,) which images. total: (R, width) log p of the prefixes, the most likely
    first. over: (R, width) bool, prefixes that are not continued: finished lists, and
    what stands below one. tags, scores: (R x width, longest), padded by -1 and 0.
    live: (L,) which of the R x width are continued; owner: (L,) their images; h, c:
    (L, K, H) their states.
    """

    def __init__(self, stepper: Stepper, image: InitialState, limits: Limits, width: int) -> None:
        n, device = len(image.h), stepper.device
        self.stepper, self.image, self.limits, self.width, self.device = stepper, image, limits, width, device
        self.rows = torch.arange(n, device=device)
        # Each image begins with one prefix, the empty one.
        self.total = torch.full((n, width), IMPOSSIBLE, device=device)
        self.total[:, 0] = 0.0
        self.over = self.total == IMPOSSIBLE
        self.tags = torch.full((n * width, limits.longest), -1, device=device)
        self.scores = torch.zeros((n * width, limits.longest), device=device)
        self.live = self.rows * width
        self.owner, self.h, self.c = self.rows, image.h, image.c
        self._answer_tags, self._answer_scores = self.tags[::width].clone(), self.scores[::width].clone()

    def continuations(self, t: int) -> tuple[Tensor, Tensor]:
        """log p and tag, (R x width, W), of the prefixes' continuations; one that is over has itself, at no cost."""
        # Of a prefix's continuations only the best ``width`` can be among the best of all.
        prefix = torch.cat([self.image.given[self.owner], self.tags[self.live, :t]], dim=1)
        log_p = self.stepper.log_probabilities(self.h, prefix, self.limits)
        best, tag = top(log_p, self.width)
        shape = (len(self.rows) * self.width, best.shape[1])
        all_best = torch.full(shape, IMPOSSIBLE, device=self.device)
        all_best[:, 0] = torch.where(self.over, 0.0, IMPOSSIBLE).flatten()
        all_best[self.live] = best
        all_tags = torch.full(shape, self.stepper.vocabulary, device=self.device)
        all_tags[self.live] = tag
        return all_best, all_tags

    def keep_best(self, t: int, log_p: Tensor, tags: Tensor) -> tuple[Tensor, Tensor]:
        """Go on with the best continuations of each image: their parents, (R x width,), and tags, (R, width)."""
        images, count = len(self.rows), log_p.shape[1]
        self.total, chosen = top((self.total.flatten()[:, None] + log_p).view(images, -1), self.width)
        tag, score = (x.view(images, -1).gather(1, chosen) for x in (tags, log_p))
        first = torch.arange(images, device=self.device)[:, None] * self.width
        parent = (first + chosen // count).flatten()
        # Scores only fall: what stands below a finished list cannot overtake it any more, and is over too.
        self.over = ((tag == self.stepper.vocabulary) | (self.total == IMPOSSIBLE)).cumsum(dim=1) > 0
        self.tags, self.scores = self.tags[parent], self.scores[parent]
        longer = (~self.over).flatten().nonzero().squeeze(1)
        self.tags[longer, t] = tag.flatten()[longer]
        self.scores[longer, t] = score.flatten()[longer].exp()
        return parent, tag

    def answer(self, last: bool) -> Tensor:
        """Note the answers of images whose best prefix is over (or of all, at the last step): which they are, (R,)."""
        finished = torch.ones_like(self.over[:, 0]) if last else self.over[:, 0]
        self._answer_tags[self.rows[finished]] = self.tags[:: self.width][finished]
        self._answer_scores[self.rows[finished]] = self.scores[:: self.width][finished]
        return finished

    def advance(self, unfinished: Tensor, parent: Tensor, tag: Tensor) -> None:
        """Leave out the images that have their answer, and take the LSTMs' step for the prefixes that are continued."""
        # Where the state of each prefix's parent stands among the live ones.
        place = torch.empty(len(self.rows) * self.width, dtype=torch.int64, device=self.device)
        place[self.live] = torch.arange(len(self.live), device=self.device)
        kept = unfinished.repeat_interleave(self.width)
        self.rows, self.total, self.over = self.rows[unfinished], self.total[unfinished], self.over[unfinished]
        self.tags, self.scores = self.tags[kept], self.scores[kept]
        self.live = (~self.over).flatten().nonzero().squeeze(1)
        parent, tag = place[parent[kept][self.live]], tag[unfinished].flatten()[self.live]
        self.h, self.c = self.stepper.branch(self.image, self.owner, self.h, self.c, parent, tag)
        self.owner = self.rows.repeat_interleave(self.width)[self.live]

    def answers(self) -> RankedTags:
        """The answers of all images."""
        return RankedTags(self._answer_tags.cpu().numpy(), self._answer_scores.cpu().numpy())


def top(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` largest numbers of each row, or all if there are fewer, and their places; of equal ones the first."""
    if values.shape[1] > k:
        best, places = values.topk(k + 1, dim=1)
        equal = best[:, 1:] == best[:, :-1]
        if not bool(equal.any()):
            return best[:, :k], places[:, :k]
        if not bool((equal[:, -1] & (best[:, -1] > IMPOSSIBLE)).any()):
            # topk promises no order among equals: put back in order of place, they are sorted stably.
            places = places[:, :k].sort(dim=1).values
            best, order = values.gather(1, places).sort(dim=1, descending=True, stable=True)
            return best, places.gather(1, order)
    best, places = values.sort(dim=1, descending=True, stable=True)
    return best[:, :k], places[:, :k]
