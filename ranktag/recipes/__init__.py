"""Whole pipelines: every model on a data set, and the demo."""
