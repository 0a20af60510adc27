"""What a model and a cache must agree on, and the digests of a list."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from ranktag.feature_cache.digest import image_list_sha256
from ranktag.feature_cache.provenance import Provenance


def test_provenance_names_what_differs() -> None:
    ours = Provenance("vgg16", "fc7", "w.pth", "aa", "{}", "float32", "x")
    assert ours.differences(replace(ours, compute_dtype="bfloat16", created="now")) == []
    assert ours.differences(replace(ours, layer="fc6")) == ["layer: 'fc7' / 'fc6'"]
    assert ours.differences(replace(ours, weights="v.pth")) == []  # the same numbers under another name
    assert ours.differences(replace(ours, weights="v.pth", weights_sha256="bb")) == [
        "weights: 'w.pth' / 'v.pth'",
        "weights_sha256: 'aa' / 'bb'",
    ]


def test_the_digest_of_a_list_depends_on_its_order() -> None:
    assert image_list_sha256(["a", "b"]) == hashlib.sha256(b"a\nb").hexdigest() != image_list_sha256(["b", "a"])
    assert image_list_sha256([]) == hashlib.sha256(b"").hexdigest()
