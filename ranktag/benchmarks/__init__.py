"""How fast each stage is, as ratios to a reference measured in the same run."""
