"""Photos: which there are, and the pixels a network sees of each."""
