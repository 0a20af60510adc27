"""The networks of stage one, one module each: the choices of ``--backbone``."""
