"""Tag lists: read, made from annotations, split, numbered, predicted and written."""
