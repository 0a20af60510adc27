"""What computes the shards of a cache, one module each: the choices of ``--executor``."""
