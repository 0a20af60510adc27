"""The commands, one a file: each reads its settings, calls a function of ``ranktag`` and prints what it says."""
