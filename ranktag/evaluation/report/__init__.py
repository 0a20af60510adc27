"""An evaluation as files, as a page and as text."""
