"""Stage two: from training data to a run folder."""
