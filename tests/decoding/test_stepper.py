"""One step of every member of an ensemble."""

from __future__ import annotations

import math

import pytest
import torch
from enumeration import D, ensemble, make_model

from ranktag.decoding.stepper import LOWER, Stepper
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


def test_a_mean_of_states_says_no_tag_where_it_has_come_and_does_not_stop_for_it() -> None:
    # Every state's logits are the biases: log 3 and log 2 for two tags, 0 for STOP.
    model = make_model("every-step", 2, seed=1)
    model.output.weight.zero_()
    model.output.bias.copy_(torch.tensor([math.log(3), math.log(2), 0.0]))
    stepper = Stepper(model, torch.float32)
    nothing = torch.zeros((1, 6))
    p = stepper.probabilities([nothing.repeat(3, 1)], torch.tensor([[2], [0]]), torch.tensor([[0.5, 0.0]]))
    # A state alone, after START's padding and after the first tag.
    torch.testing.assert_close(p[0], torch.tensor([3 / 6, 2 / 6, 1 / 6]))
    torch.testing.assert_close(p[1], torch.tensor([0.0, 2 / 3, 1 / 3]))
    # Half of the mean's states have said the first tag, which has lowered the mean of its logit by half of LOWER.
    stop = 1 / (1 + 2 + 0.5 * 3 * math.exp(0.5 * LOWER))
    torch.testing.assert_close(p[2], torch.tensor([(1 - stop) * 1.5 / 3.5, (1 - stop) * 2 / 3.5, stop]))
