"""Label Studio's brush masks: run lengths, as its web page packs them (rle-pack of thi.ng/umbrella)."""

from __future__ import annotations


def painted_share(rle: object) -> float | None:
    """Share of the image that a mask covers, 0 to 1; None if it is damaged or covers nothing.

    rle: bytes as numbers. A stream of bits: the number of values (32 bits; four for
    each pixel, of which the last is its opacity), a value's length in bits less 1 (5), four
    lengths of run lengths less 1 (4 each); then runs: whether the value is repeated
    (1), which of the four lengths (2), the run's length less 1, and its value, or its values.
    """
    if not isinstance(rle, list) or not all(isinstance(byte, int) and 0 <= byte < 256 for byte in rle):
        return None
    bits = "".join(f"{byte:08b}" for byte in rle)
    place = 0

    def take(count: int) -> int:
        nonlocal place
        place += count
        if place > len(bits):
            raise ValueError("the mask ends too early")
        return int(bits[place - count : place], 2)

    try:
        values, word = take(32), take(5) + 1
        lengths = [take(4) + 1 for _ in range(4)]
        painted = start = 0
        while start < values:
            repeated = take(1)
            end = start + 1 + take(lengths[take(2)])
            for first, behind in [(start, end)] if repeated else [(i, i + 1) for i in range(start, end)]:
                # Of the places of a run, every fourth is an opacity.
                if take(word):
                    painted += min(behind, values) // 4 - min(first, values) // 4
            start = end
    except ValueError:
        return None
    return painted / (values // 4) if painted else None
