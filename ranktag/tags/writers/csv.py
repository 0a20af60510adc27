"""The same as long."""

from ranktag.tags.writers.long import write as write
