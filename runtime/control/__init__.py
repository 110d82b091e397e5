"""The control socket: what operators and their scripts ask of a running Emperor."""
