"""The monitors: where vassals are found, and how a change to one is noticed."""
