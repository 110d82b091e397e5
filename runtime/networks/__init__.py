"""Networks for vassals that have one of their own."""
