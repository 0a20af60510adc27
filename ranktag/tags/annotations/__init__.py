"""What the readers of annotations share: the list builder, files, drawn objects, names, nouns, downloads."""
