"""From a model to ranked tags."""
