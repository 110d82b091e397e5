"""Whose vassal is whose, and what is done with whose rights."""
