"""What a reader made, in lines for a person: how much there is, what was left out, and what is rare."""

from __future__ import annotations

from collections import Counter

from ranktag.tags.annotations.account import SHOWN, examples
from ranktag.tags.annotations.builder import TagListBuilder
from ranktag.tags.splits import SPLITS


def summary(builder: TagListBuilder) -> list[str]:
    """A line a fact, the most important first."""
    lengths = [len(tags) for people in builder.lists.values() for tags in people]
    counts = builder.counts()
    mean = sum(lengths) / len(lengths)
    lines = [
        f"{len(builder.lists)} images, {len(lengths)} lists, {mean:.2f} tags a list (at most {max(lengths)}), "
        f"a vocabulary of {len(counts)} tags"
    ]
    if builder.split:
        sizes = Counter(builder.split.values())
        lines.append("split: " + ", ".join(f"{sizes[part]} {part}" for part in SPLITS))
    several = sum(len(people) > 1 for people in builder.lists.values())
    if several:
        lines.append(f"images with several lists: {several}")
    lines.append(f"empty lists: {lengths.count(0)}")
    lines += builder.lines()
    rare = sorted(tag for tag, count in counts.items() if count == 1)
    if rare:
        lines.append(
            f"rare: {len(rare)} of the {len(counts)} tags stand in one list only ({examples(rare, 4 * SHOWN)})"
        )
    return lines
