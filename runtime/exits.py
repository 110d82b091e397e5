"""Exit codes, the same everywhere."""

#: Errors in a configuration.
ERRORS_FOUND = 1

#: A command line that makes no sense.
USAGE = 2

#: The system refused: a file, a socket, a right.
SYSTEM_REFUSED = 111
