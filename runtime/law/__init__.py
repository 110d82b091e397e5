"""The law of a vassal: a pure state machine, one room for each part of its life."""
