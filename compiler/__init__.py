"""Vassal configuration in, validated plan out. Pure: no clock, no processes, no sockets."""
