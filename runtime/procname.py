"""What ``ps`` calls this process."""


def set_process_name(name: str) -> None:
    """Show ``name`` instead of the command line, and its beginning as the command's name.

    What cannot be UTF-8 in it becomes a question mark; an empty name changes nothing.
    """
    # only here: most Emperors have no emperor-procname, and need not carry it
    import setproctitle

    plain = name.encode("utf-8", "replace").decode().replace("\0", "?")
    if plain:
        setproctitle.setproctitle(plain)
