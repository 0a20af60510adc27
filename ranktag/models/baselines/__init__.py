"""Models without an LSTM, to compare with: a module each, whose name is that on the command line.

A module holds a docstring whose first line is its help, a class ``Model`` (a ``Baseline``
of ``ranktag.models.baselines._shared``) and its training,

    fit(training: Examples, validation: Examples, score: Score) -> tuple[Model, Sequence[Attempt]]

where ``score`` is the validation NDCG@5 of expected gains (N, V), to choose settings by.
"""
