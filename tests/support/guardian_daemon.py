"""A daemon of few words for the guardian's tests, to be killed from outside.

    python guardian_daemon.py FD PROGRAM MODE...

starts "PROGRAM WORD WORD" for each MODE "WORD WORD". Its descriptor FD becomes each child's
descriptor 3. It starts another guardian when one dies
and adopts the orphans. Events are lines of JSON on standard output, such as ["spawned", PID].
"""

import asyncio
import json
import os
import signal
import sys

from emperor.runtime.guardian.children import become_subreaper
from emperor.runtime.guardian.client import Guardian
from emperor.runtime.guardian.messages import Exited, Report, Spawned
from emperor.runtime.guardian.orphans import Orphans


class Daemon:
    def __init__(self) -> None:
        self.vassals: set[int] = set()
        self.orphans = Orphans(on_exited=self.bury, own=lambda: {self.guardian.pid})
        self.guardian = self.start()

    def start(self) -> Guardian:
        guardian = Guardian.start(on_report=self.hear, on_death=self.replace)
        say("guardian", guardian.pid)
        return guardian

    def hear(self, report: Report) -> None:
        match report:
            case Spawned(pid=pid):
                self.vassals.add(pid)
                say("spawned", pid)
            case Exited(pid=pid, status=status):
                self.bury(pid, status)
            case _:
                say("failed", report.message)

    def bury(self, pid: int, status: int) -> None:
        self.vassals.discard(pid)
        self.guardian.forget(pid)
        say("exited", pid, status)

    def replace(self, status: int) -> None:
        self.guardian = self.start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self.orphans.sweep)
        for pid in sorted(self.vassals):
            self.orphans.watch(pid)
            self.guardian.adopt(pid)
        say("replaced", status)


def say(*event: str | int) -> None:
    print(json.dumps(event), flush=True)


async def main() -> None:
    become_subreaper()
    daemon = Daemon()
    lifeline, program, *modes = sys.argv[1:]
    os.set_inheritable(int(lifeline), False)
    for mode in modes:
        daemon.guardian.spawn(
            argv=[program, *mode.split()], env={}, descriptors={3: int(lifeline)}
        )
    await asyncio.Event().wait()


asyncio.run(main())
