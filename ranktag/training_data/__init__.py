"""Features joined with tag lists: what a model learns from."""
