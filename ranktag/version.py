"""The version, in a module of its own: whoever writes it into a file need not import the package's functions."""

__version__ = "0.1.0"
