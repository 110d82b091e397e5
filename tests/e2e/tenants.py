"""A host with tenants for the tests: honest ones, an Emperor over them, and who attacks it.

The Emperor of a siege is ``emperor run`` with shorter limits, and with compile workers that can
be made to lie: as root can write a program for the worker of a uid, which then runs in it in
the place of the worker's own code.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from tests.e2e.daemon import Daemon, eventually, reign
from tests.e2e.sites import APP, Options, get, in_format
from tests.support.tiny import compile_program
from tests.support.uwsgi import Server, a_server

#: The user that a reduced Emperor is, and whose control and state nobody else has.
EMPEROR = 20_050

#: The Emperors of the suite: root, and one that has kept what it takes to become others.
KINDS: dict[str, tuple[str, ...]] = {
    "root": (),
    "reduced": ("--uid", str(EMPEROR), "--gid", str(EMPEROR), "--cap", "setgid,setuid"),
}

#: Who was there before, with a uWSGI and with another program, and whose file is edited in the
#: middle of it.
CALM, QUIET, BUSY = 20_011, 20_012, 20_013

#: How long an edit of an honest tenant's may take to be served while somebody attacks.
EDIT_SECONDS = 5.0

#: The limits of a siege: for a command, and for a whole compile.
COMMAND_SECONDS, COMPILE_SECONDS = 1.2, 2.5

#: What each attack got, by its name and the kind of the Emperor.
FIGURES: dict[tuple[str, str], str] = {}

#: How long the honest edits took meanwhile, in seconds.
EDITS: list[float] = []

_BURGLAR = os.path.join(os.path.dirname(__file__), "..", "support", "burglar.c")

_SERVER = """
import os
import emperor.runtime.compiling.server as server
from emperor.runtime import commands
from emperor.runtime.compiling import wire, worker

commands.shell_output.__kwdefaults__["seconds"] = {command_seconds}
honest = server.serve
PROGRAM = dict(
    stop_signal=15, stop_seconds=None, reload="restart", reload_signal=1, ready="running",
    ready_after_seconds=0, ready_timeout_seconds=60, watchdog_seconds=None, log=None,
    log_bytes=10485760, log_keep=5,
)

def serve(channel, job):
    program = f"{lies}/{{os.getuid()}}.py"
    if not job.is_for_tenant or not os.path.exists(program):
        return honest(channel, job)
    with open(program) as file:
        text = file.read()
    while received := wire.receive(channel):
        asked, descriptors = received

        def say(spec, *, diagnostics=(), dependencies=(), **more):
            body = dict(spec=spec, diagnostics=diagnostics, dependencies=dependencies)
            channel.sendall(wire.encode({{"id": asked["id"], **body, **more}}))

        def spec(script, *, program={{}}, **more):
            return dict(
                argv=["/bin/sh", "-c", f"{{script}}; exec sleep 100000"], set=[], unset=[],
                cwd=asked["directory"], socket=None, delivered=[], digest=script,
                has_master=True, has_workers=True, reload_seconds=10, sockets=[],
                program=PROGRAM | program, forks=False,
            ) | more

        exec(text, dict(say=say, spec=spec, asked=asked, channel=channel, wire=wire, os=os))
        for descriptor in descriptors:
            os.close(descriptor)

server.serve = serve
server.main()
"""

_RUN = """
import sys
from emperor.runtime.compiling import crew, start

crew.REQUEST_SECONDS = {compile_seconds}
crew.IDLE_SECONDS = 1.0
start._PROGRAM = {server!r}
from emperor.cli.main import main

sys.exit(main())
"""


def _first_uid() -> int:
    """Other numbers for each run of tests: two may go on at a time."""
    return 21_000 + os.getpid() % 400 * 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Estate:
    """Root's directories that all may look through, with a home for each tenant."""

    root: str
    server: Server
    _tenants: Iterator[int] = field(default_factory=lambda: count(_first_uid()), repr=False)

    @property
    def vassals(self) -> str:
        """The directory that the Emperor watches."""
        return f"{self.root}/vassals"

    @property
    def lies(self) -> str:
        """Where the programs of workers that lie are."""
        return f"{self.root}/lies"

    @property
    def words(self) -> tuple[str, ...]:
        """The Emperor's words, whoever it is."""
        places = ("--emperor", self.vassals, "--binary-path", self.server.path)
        return (*places, "--emperor-tyrant", "--emperor-state-directory", f"{self.root}/state")

    def tenant(self) -> int:
        """The uid of a tenant that nobody has seen before."""
        uid = next(self._tenants)
        self.home(uid)
        return uid

    def home(self, uid: int) -> str:
        """A tenant's own directory, which all may look into."""
        path = f"{self.root}/{uid}"
        if not os.path.isdir(path):
            os.mkdir(path)
            os.chown(path, uid, uid)
        return path

    def path(self, name: str) -> str:
        """Where a vassal's file is."""
        return f"{self.vassals}/{name}"

    def give(self, path: str, text: str, uid: int, *, gid: int | None = None) -> str:
        """Put a file in place at once, with an owner and no rights for others; its path."""
        new = f"{os.path.dirname(path)}/.{os.path.basename(path)}.new"
        with open(new, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.chmod(new, 0o600)
        os.chown(new, uid, uid if gid is None else gid)
        os.rename(new, path)
        return path

    def put(self, name: str, uid: int, *options: tuple[str, str]) -> str:
        """Write a tenant's vassal file; its path."""
        return self.give(self.path(name), in_format("ini", options), uid)

    def put_site(self, name: str, uid: int, greeting: str, *more: tuple[str, str]) -> str:
        """Write a vassal of a tenant's that serves HTTP from its home; its path."""
        return self.put(name, uid, *self.site(uid, greeting), *more)

    def site(self, uid: int, greeting: str) -> Options:
        """The options of a uWSGI that greets."""
        return (
            *self.server.python,
            ("http-socket", f"{self.home(uid)}/http"),
            ("chmod-socket", "666"),
            ("wsgi-file", f"{self.root}/app.py"),
            ("need-app", "true"),
            ("disable-logging", "true"),
            ("greeting", greeting),
        )

    def put_plain(self, name: str, uid: int, *more: tuple[str, str]) -> str:
        """Write a vassal of a tenant's that does nothing, for ever."""
        return self.put(name, uid, ("vassal-exec", "/bin/sleep 100000"), *more)

    def script(self, uid: int, name: str, text: str) -> str:
        """Write a shell script of a tenant's; its path."""
        path = self.give(f"{self.home(uid)}/{name}", f"#!/bin/sh\n{text}\n", uid)
        os.chmod(path, 0o755)
        return path

    def lie(self, uid: int, program: str) -> None:
        """Have the next workers of that tenant run this Python for each request instead of
        their own code: ``say(spec("SHELL SCRIPT"))`` would be an answer."""
        path = f"{self.lies}/{uid}.py"
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            file.write(program)
        os.rename(f"{path}.new", path)

    def get(self, uid: int, path: str = "/") -> str:
        """What a tenant's site answers."""
        return get(f"{self.home(uid)}/http", path)

    def burglar(self) -> str:
        """The program that tries everything, where all may run it."""
        path = f"{self.root}/burglar"
        if not os.path.exists(path):
            compile_program(_BURGLAR, path)
        return path


@dataclass(slots=True, kw_only=True)
class Siege:
    """An Emperor with three honest tenants, and the pids of two of them."""

    kind: str
    estate: Estate
    daemon: Daemon
    honest: dict[str, int]
    _edits: Iterator[int] = field(default_factory=lambda: count(1), repr=False)

    def anchors(self) -> dict[str, int]:
        """The pids that no attack may change."""
        daemon = self.daemon
        own = {
            "daemon": daemon.pid,
            "guardian": daemon.guardian,
            "server": daemon.compile_server,
        }
        return own | self.honest | {"calm's worker": int(self.estate.get(CALM, "/pid"))}

    @property
    def targets(self) -> list[int]:
        """Processes that a tenant has no business with."""
        daemon = self.daemon
        return [daemon.pid, daemon.guardian, daemon.compile_server, *self.honest.values()]

    def edit(self) -> float:
        """Edit the busy tenant's file and wait until that is served; gives the seconds."""
        edition = next(self._edits)
        began = time.monotonic()
        put_edition(self.estate, edition)
        eventually(
            lambda: edition_of(self.estate) == edition,
            EDIT_SECONDS,
            lambda: f"the edit of an honest tenant's is not taken in\n{self.daemon}",
        )
        return time.monotonic() - began

    @contextmanager
    def attack(self, what: str, *names: str) -> Iterator["Loot"]:
        """Within the block an attack begins; at its end an honest edit is taken in while it
        goes on, nobody has been killed, and the attackers' vassals (``names``) go."""
        before = self.anchors()
        loot = Loot()
        yield loot
        loot.edit_seconds = self.edit()
        after = self.anchors()
        assert after == before, f"{what}: {before} -> {after}\n{self.daemon}"
        assert len(self.daemon.zombies()) < 50
        for name in names:
            self.remove(name)
        FIGURES[what, self.kind] = loot.text
        EDITS.append(loot.edit_seconds)

    def remove(self, name: str) -> None:
        """Take a vassal away, whatever is in the place of its file."""
        path = self.estate.path(name)
        with suppress(FileNotFoundError):
            os.rmdir(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(
                path
            )

    def workers_of(self, uid: int) -> list[int]:
        """The pids of a tenant's compile workers."""
        return [
            pid for pid in self.daemon.below(self.daemon.compile_server) if real_uid(pid) == uid
        ]


@dataclass(slots=True)
class Loot:
    """What an attacker got, in words."""

    text: str = "nothing"
    edit_seconds: float = 0.0


@contextmanager
def estate() -> Iterator[Estate]:
    """An estate that is gone afterwards; its path is short, for sockets."""
    root = tempfile.mkdtemp(prefix="emp-")
    os.chmod(root, 0o755)
    try:
        place = Estate(root=root, server=a_server())
        for name in ("vassals", "lies", "state", "control"):
            os.mkdir(f"{root}/{name}")
            os.chmod(f"{root}/{name}", 0o755)
        for name in ("state", "control"):
            os.chown(f"{root}/{name}", EMPEROR, EMPEROR)
        with open(f"{root}/app.py", "w", encoding="utf-8") as file:
            file.write(APP)
        yield place
    finally:
        shutil.rmtree(root)


@contextmanager
def siege(kind: str, *words: str) -> Iterator[Siege]:
    """A rigged Emperor of this kind with its honest tenants, up and well."""
    with estate() as place:
        place.put_site("calm.ini", CALM, "calm")
        place.put_plain("quiet.ini", QUIET)
        put_edition(place, 0)
        with reign(
            *place.words, *KINDS[kind], *words, command=rigged(place), cwd=place.root
        ) as daemon:
            honest = {
                "calm.ini": daemon.up("calm.ini"),
                "quiet.ini": daemon.spawned("quiet.ini"),
            }
            eventually(lambda: edition_of(place) == 0, complaint=lambda: str(daemon))
            yield Siege(kind=kind, estate=place, daemon=daemon, honest=honest)


def put_edition(place: Estate, edition: int) -> None:
    """Have the busy tenant's vassal write down another number."""
    program = f"echo {edition} > {place.home(BUSY)}/edition; exec sleep 100000"
    place.put("busy.ini", BUSY, ("vassal-exec", f"/bin/sh -c '{program}'"))


def edition_of(place: Estate) -> int | None:
    """The number that the busy tenant's vassal has written down."""
    with suppress(OSError, ValueError), open(f"{place.home(BUSY)}/edition", "rb") as file:
        return int(file.read())
    return None


def rigged(place: Estate) -> tuple[str, ...]:
    """The command of an Emperor with short limits and workers that may lie."""
    server = _SERVER.format(command_seconds=COMMAND_SECONDS, lies=place.lies)
    run = _RUN.format(compile_seconds=COMPILE_SECONDS, server=server)
    return (sys.executable, "-P", "-c", run)


def real_uid(pid: int) -> int | None:
    """The real uid of a process, dumpable or not; nobody's if it is gone."""
    with (
        suppress(OSError),
        open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file,
    ):
        for line in file:
            if line.startswith("Uid:"):
                return int(line.split()[1])
    return None


def processes_of(uid: int) -> list[int]:
    """The pids of a user's living processes."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if real_uid(pid) == uid]


def vassals_of(uid: int) -> list[int]:
    """The pids of a tenant's vassals: compile workers and their commands can never gain rights,
    which tells them apart."""
    return [pid for pid in processes_of(uid) if not _is_bound(pid)]


def _is_bound(pid: int) -> bool:
    with suppress(OSError):
        return fields(Path(f"/proc/{pid}/status").read_text())["NoNewPrivs"] == "1"
    return True


def fields(text: str) -> dict[str, str]:
    """What /proc/PID/status says, by its names."""
    rows = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in rows}


def read(path: str, *, seconds: float = 10.0) -> str:
    """The text of a file, once somebody has written it and ended its last line."""
    found: list[str] = [""]

    def is_there() -> bool:
        with suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            found[0] = file.read()
        return found[0].endswith("\n")

    eventually(is_there, seconds, lambda: f"{path}: {found[0]!r}")
    return found[0]


def table() -> str:
    """The figures as a table in Markdown."""
    rows = []
    for what in sorted({what for what, _ in FIGURES}):
        got = dict.fromkeys(
            FIGURES[key] for key in ((what, kind) for kind in KINDS) if key in FIGURES
        )
        rows.append(f"| {what} | {' / '.join(got)} |")
    honest = f"honest edits: {len(EDITS)}, {max(EDITS, default=0.0):.2f} s at most"
    return "\n".join(("| attack | what it got |", "|---|---|", *rows, "", honest))
