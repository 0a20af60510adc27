"""What is compiled is tested as it is where no C compiler was, too."""

from __future__ import annotations

import pytest

from ranktag.compute import compiled


@pytest.fixture(params=["compiled", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """By what is computed what there are kernels for."""
    if request.param == "torch":
        monkeypatch.setattr(compiled, "kernels", None)
    elif compiled.kernels is None:
        pytest.skip("there was no C compiler where ranktag was installed")
    return str(request.param)
