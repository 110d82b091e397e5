"""The ``emperor`` command."""
