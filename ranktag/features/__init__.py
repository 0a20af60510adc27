"""Stage one: photos to a feature cache."""
