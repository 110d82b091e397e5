"""Compiling on the daemon's behalf: a server that holds the parsers, workers that use them."""
