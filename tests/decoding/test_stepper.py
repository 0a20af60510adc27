"""One step of every member of an ensemble."""

from __future__ import annotations

import pytest
import torch
from enumeration import D, ensemble

from ranktag.decoding.stepper import Stepper
from ranktag.models.lstm import FORMS
from ranktag.models.ranking import Limits


@pytest.mark.parametrize("form", FORMS)
def test_an_ensembles_probability_is_the_mean_of_its_members_at_every_step(form: str) -> None:
    several, x = ensemble(form, 4, 1, 2, 3), torch.randn(5, D, generator=torch.Generator().manual_seed(0))
    assert several.config.members == 3
    steppers = [Stepper(several, torch.float32), *(Stepper(member, torch.float32) for member in several.members)]
    states = [stepper.initial_state(x) for stepper in steppers]
    said = torch.zeros((5, 0), dtype=torch.int64)
    for tag in (torch.tensor([0, 1, 2, 3, 0]), torch.tensor([1, 2, 3, 0, 2])):
        together, *alone = (
            stepper.log_probabilities(state.h, said, Limits(4)).exp() for stepper, state in zip(steppers, states)
        )
        torch.testing.assert_close(together, torch.stack(alone).mean(0))
        assert float((alone[0] - alone[1]).abs().max()) > 0.01, "members that are alike show nothing"
        states = [
            state._replace(**dict(zip("hc", stepper.step(state.gates, state.h, state.c, None, tag))))
            for stepper, state in zip(steppers, states)
        ]
        said = torch.cat([said, tag[:, None]], dim=1)
