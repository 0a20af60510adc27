"""One module a metric: its name is the metric's in every file, and what it defines is called ``METRIC``."""
