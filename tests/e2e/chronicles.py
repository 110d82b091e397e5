"""Hooks that write down what they see, for tests to read."""

import os
from dataclasses import dataclass

from tests.e2e.daemon import eventually
from tests.e2e.sites import Town

#: What hooks are told.
TOLD = (
    *("UWSGI_VASSAL_CONFIG", "UWSGI_VASSAL_PID", "UWSGI_VASSAL_UID", "UWSGI_VASSAL_GID"),
    "UWSGI_VASSALS_DIR",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one hook has written: what it is called, its arguments, process and directory, and
    what it was told ("-": nothing)."""

    label: str
    arguments: tuple[str, ...]
    pid: int
    cwd: str
    told: dict[str, str]


class Chronicle:
    """A file that hooks append to, and programs that do; all of it lies in a town."""

    def __init__(self, town: Town) -> None:
        self._path = f"{town.root}/chronicle"
        self._program = f"{town.root}/note"
        variables = " ".join(f'"${{{name}--}}"' for name in TOLD)
        # one write for each entry, so that hooks may run side by side
        self._write(
            self._program,
            "#!/bin/sh\n"
            "label=$1; pid=$2; shift 2\n"
            f'printf "%s\\t" "$label" "$pid" "$PWD" {variables} "$@" >"$0.$$"\n'
            f'{{ cat "$0.$$"; echo; }} | dd of={self._path} oflag=append conv=notrunc'
            " obs=65536 status=none\n"
            'rm "$0.$$"\n',
        )

    def noting(self, label: str) -> str:
        """The command of a hook that writes an entry of this label."""
        return f'{self._program} {label} $$ "$@"'

    def program(self, label: str, more: str = "") -> str:
        """The path of a program that does so with its arguments, and then ``more``."""
        path = f"{self._program}-{label}"
        self._write(path, f"#!/bin/sh\n{self.noting(label)}\n{more}\n")
        return path

    @staticmethod
    def _write(path: str, text: str) -> None:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o755)

    def entries(self, *labels: str) -> list[Entry]:
        """What was written so far, or the entries of these labels."""
        try:
            with open(self._path, encoding="utf-8", errors="surrogateescape") as file:
                lines = file.read().split("\n")[:-1]
        except FileNotFoundError:
            return []
        found = [_entry(line.split("\t")) for line in lines]
        return [entry for entry in found if not labels or entry.label in labels]

    def labels(self) -> list[str]:
        """The labels in the order in which they were written."""
        return [entry.label for entry in self.entries()]

    def until(self, *labels: str) -> list[Entry]:
        """All entries, once there are as many as these labels, which must be theirs."""
        eventually(
            lambda: len(self.entries()) >= len(labels), complaint=lambda: str(self.labels())
        )
        assert self.labels() == [*labels]
        return self.entries()


def _entry(fields: list[str]) -> Entry:
    label, pid, cwd, *rest = fields
    told, arguments = rest[: len(TOLD)], rest[len(TOLD) : -1]
    return Entry(
        label=label,
        arguments=tuple(arguments),
        pid=int(pid),
        cwd=cwd,
        told=dict(zip(TOLD, told, strict=True)),
    )
