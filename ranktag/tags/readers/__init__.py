"""One module a format of annotations, named as on the command line ('ranktag prepare NAME')."""
