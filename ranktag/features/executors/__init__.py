"""What computes the shards of a cache, one module each: the choices of ``--executor``.

A module holds a docstring whose first line is its help, and a class ``Engine``, one of ``ranktag.features.engine``.
"""
