"""The place of a storm: carries its operations out on files, processes and a real daemon, and
sees what is left of them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.daemon import Daemon, reign, state_of
from tests.e2e.sites import in_format
from tests.support.command import emperor
from tests.support.storm import Kind, Operation, Storm
from tests.support.tiny import compile_program

from emperor.runtime.control.client import ask
from emperor.runtime.control.protocol import Answer, Outcome, Request
from emperor.runtime.views import VassalView, Verb

SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "storm_vassal.c")

#: Who does not go when told to is killed after so long.
CURSE_SECONDS = 1

#: How long anything may take that somebody waits for.
PATIENCE_SECONDS = 30.0

_SIGNALS = {
    Kind.KILL: signal.SIGKILL,
    Kind.FLOOD: signal.SIGUSR1,
    Kind.DEPART: signal.SIGUSR2,
    Kind.ASK: signal.SIGHUP,
}
_VERBS = {
    Kind.STOP: Verb.STOP,
    Kind.START: Verb.START,
    Kind.RELOAD: Verb.RELOAD,
    Kind.RETRY: Verb.RETRY,
}
_FOR_ALL = {Kind.RELOAD_ALL: signal.SIGHUP, Kind.RETRY_ALL: signal.SIGURG}
_SERIAL = re.compile(r"^serial = (\d+)$", re.M)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """What the Emperor's own processes hold: descriptors by what they are (of the compile
    server and its workers together), resident memory in KiB of the daemon and the guardian."""

    daemon: Counter[str]
    guardian: Counter[str]
    compilers: Counter[str]
    daemon_kib: int
    guardian_kib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StormTown:
    """Vassals in ``root``, and the daemon that governs them."""

    root: str
    daemon: Daemon

    # -- what is done ------------------------------------------------------------------------

    def do(self, operation: Operation) -> None:
        """Carry an operation out, as far as there is anything to carry it out on."""
        kind, name = operation.kind, operation.name
        if kind in _FOR_ALL:
            os.kill(self.daemon.pid, _FOR_ALL[kind])
        elif kind in _VERBS:
            self.command(_VERBS[kind], name)
        elif kind in _SIGNALS:
            self._signal(name, _SIGNALS[kind])
        else:
            self._change(operation)

    def command(self, verb: Verb, name: str, *, waits: bool = False) -> list[Answer]:
        """An operator's word."""
        request = Request(
            verb=verb, names=(name,), waits=waits, timeout_seconds=PATIENCE_SECONDS
        )
        return list(ask(f"{self.root}/control", request))

    def status(self, *names: str) -> dict[str, VassalView]:
        """What the daemon says of all vassals, or of these."""
        return status(f"{self.root}/control", *names)

    def _change(self, operation: Operation) -> None:
        path = f"{self.root}/vassals/{operation.name}"
        match operation.kind:
            case Kind.TOUCH:
                os.utime(path)
            case Kind.REMOVE:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
            case Kind.SCRIBBLE:
                middle = len(operation.text) // 2
                with open(path, "w", encoding="utf-8") as file:
                    file.write(operation.text[:middle])
                    file.flush()
                    file.write(operation.text[middle:])
            case kind:
                if kind is Kind.SWAP:
                    os.unlink(path)
                with open(f"{self.root}/draft", "w", encoding="utf-8") as file:
                    file.write(operation.text)
                os.rename(f"{self.root}/draft", path)

    def _signal(self, name: str, signum: int) -> None:
        view = self.status(name).get(name)
        if view is None or view.pid < 0:
            return
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(view.pid)
            try:
                if self.daemon.is_family(view.pid):  # the number may be somebody else's by now
                    signal.pidfd_send_signal(handle, signum)
            finally:
                os.close(handle)

    # -- what there is ------------------------------------------------------------------------

    def complaints(
        self, storm: Storm, compiled: Mapping[str, Mapping[str, object]]
    ) -> list[str]:
        """Whatever is not as the storm wants it; nothing if all is well."""
        views = self.status()
        known = {name for name, wish in storm.wishes.items() if wish.has_file}
        found = [f"{name} is {views[name].state}" for name in views.keys() - known]
        found += [f"{name} is not known" for name in known - views.keys()]
        for name in sorted(known & views.keys()):
            wish, view = storm.wishes[name], views[name]
            config = self._config(view)
            serial = None if config is None else int(_SERIAL.findall(config)[0])
            if wish.must_run:
                if not (view.is_well and view.is_settled and view.state == "ready"):
                    found.append(f"{name} is {view.state}: {view.outlook}")
                elif view.digest != compiled[name]["digest"]:
                    found.append(f"{name} is said to have another config")
                elif [config] != compiled[name]["delivered"]:
                    found.append(f"{name} has serial {serial}, not {wish.serials[-1]}")
            elif wish.is_stopped and not wish.may_rest and view.pid != -1:
                found.append(f"{name} is stopped, and is {view.state}")
            elif serial is not None and serial not in wish.serials:
                found.append(f"{name} has serial {serial}, which was never its own")
        return found + self.strangers(views)

    def strangers(self, views: dict[str, VassalView]) -> list[str]:
        """Living processes that nobody wants, and dead ones that nobody has waited for."""
        groups = {view.pid for view in views.values()} | {os.getsid(self.daemon.pid)}
        groups |= {os.getpgid(pid) for pid in self.helpers()}
        found = [f"{pid} belongs to nobody" for pid in self.daemon.family() - _in(groups)]
        return found + [f"{pid} is not waited for" for pid in self.daemon.zombies()]

    def compiled(self) -> dict[str, dict[str, object]]:
        """What ``emperor compile`` makes of the files that there are, by name."""
        words = ("--format", "plan", "--emperor-config", f"{self.root}/emperor.ini")
        plan = emperor("compile", *words, f"{self.root}/vassals", cwd=Path(self.root)).data
        return {vassal["name"]: vassal for vassal in plan["vassals"]}

    def helpers(self) -> tuple[int, ...]:
        """The pids of the guardian, the compile server and its workers."""
        server = self.daemon.compile_server
        return (self.daemon.guardian, server, *self.daemon.below(server))

    def holdings(self) -> Holdings:
        """What the Emperor's own processes hold now."""
        guardian, *compilers = self.helpers()
        return Holdings(
            daemon=_descriptors(self.daemon.pid),
            guardian=_descriptors(guardian),
            compilers=sum(map(_descriptors, compilers), Counter()),
            daemon_kib=_resident_kib(self.daemon.pid),
            guardian_kib=_resident_kib(guardian),
        )

    def _config(self, view: VassalView) -> str | None:
        """The config that a vassal's process has, in its own words."""
        try:
            with open(f"{self.root}/configs/{view.pid}", encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return None


@contextlib.contextmanager
def storm_town(root: str) -> Iterator[StormTown]:
    """A daemon for the vassals in ``root``, none so far. Raises NoCompilerError."""
    compile_program(SOURCE, f"{root}/storm")
    for directory in ("vassals", "configs"):
        os.mkdir(f"{root}/{directory}")
    words = {
        "emperor": f"{root}/vassals",
        "emperor-wrapper": f"{root}/storm",
        "emperor-curse-tolerance": str(CURSE_SECONDS),
    }
    with open(f"{root}/emperor.ini", "w", encoding="utf-8") as file:
        file.write(in_format("ini", tuple(words.items())))
    with reign(
        f"{root}/emperor.ini",
        "--emperor-control",
        f"{root}/control",
        environment={"STORM_DIRECTORY": f"{root}/configs"},
    ) as daemon:
        daemon.expect("the Emperor governs")  # its control socket is there
        yield StormTown(root=root, daemon=daemon)


def status(control: str, *names: str) -> dict[str, VassalView]:
    """What the daemon behind a control socket says of all vassals, or of these."""
    answers = ask(control, Request(verb=None, names=names))
    return {one.name: one.view for one in answers if one.view is not None}


def is_over(answers: list[Answer]) -> bool:
    """Whether what was waited for has come to an end, good or bad."""
    return all(one.outcome is not Outcome.PENDING for one in answers)


def _in(groups: set[int]) -> set[int]:
    """The living processes in these groups."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(int(name)) in groups and state_of(int(name)) != "Z":
                found.add(int(name))
    return found


def _descriptors(pid: int) -> Counter[str]:
    """A process's descriptors by what they are: sockets, pipes, files by path."""
    found: Counter[str] = Counter()
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[os.readlink(f"/proc/{pid}/fd/{number}").partition(":[")[0]] += 1
    return found


def _resident_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        rows = dict(line.split(":", 1) for line in file.read().splitlines())
    return int(rows["VmRSS"].split()[0])
