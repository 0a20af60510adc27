"""What the readers of annotations share."""
