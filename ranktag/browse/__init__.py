"""The page of an archive: a folder of photos, made small, and of their ranked tags, to look at and to search."""
