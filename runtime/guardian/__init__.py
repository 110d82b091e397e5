"""The guardian: the small blocking process that is the parent of all vassals."""
