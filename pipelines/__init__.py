"""The commands: thin, one a file. They read files and settings, call a function of ``ranktag``, and print what it says."""
