"""Side by side with the peers: what Emperor costs, as figures and ratios."""
