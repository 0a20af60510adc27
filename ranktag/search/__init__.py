"""Search in predicted tags: what a query asks for, how relevant a photo is to it, and an index that answers at once."""
