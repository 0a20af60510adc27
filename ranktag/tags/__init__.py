"""Tag lists: read, split, numbered, predicted and written."""
