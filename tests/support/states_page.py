"""What docs/vassal-states.md shows of the law: legal transitions, and its table in words.

``python -m tests.support.states_page`` prints what a test compares with the page.
"""

import re
from collections.abc import Iterable

from emperor.runtime import events as ev
from emperor.runtime.law.state import Phase
from emperor.runtime.law.table import TABLE

W, L, Q = Phase.WAITING, Phase.LISTENING, Phase.QUEUED
S, T, R, A = Phase.SPAWNING, Phase.STARTING, Phase.READY, Phase.RELOADING
X, D, P, G = Phase.STOPPING, Phase.DELAYED, Phase.PARKED, Phase.GONE

_ANSWERS = ("Compiled", "NotCompiled", "Fresh")
_ENDS = ("Vanished", "Leave", "Die")
_GONE = ("Superseded", *_ENDS)
_TOLD_TO_GO = (
    *("Compiled", "Said", "Tick", "Stopping", "Disowned", "Superseded"),
    *("Halt", "Vanished", "Leave", "Die"),
)

#: Every legal transition, and the events that may cause it: the drawing of the page.
EDGES: dict[tuple[Phase, Phase], tuple[str, ...]] = {
    (W, L): (*_ANSWERS, "Tick"),
    (W, Q): (*_ANSWERS, "Tick", "Begin"),
    (W, P): ("Halt",),
    (W, G): ("NotCompiled", *_GONE),
    (L, W): ("Disowned",),
    (L, Q): ("Compiled", "Connected", "Start"),
    (L, D): ("NotListening",),
    (L, P): ("Halt",),
    (L, G): _GONE,
    (Q, W): ("Noticed", "Disowned"),
    (Q, L): ("Compiled",),
    (Q, S): ("MayStart",),
    (Q, P): ("Halt",),
    (Q, G): ("Superseded", "Halt", *_ENDS),
    (S, T): ("Spawned",),
    (S, R): ("Spawned",),
    (S, X): ("Spawned",),
    (S, D): ("NotSpawned",),
    (S, P): ("NotSpawned",),
    (S, G): ("NotSpawned",),
    (T, R): ("Said", "Tick"),
    (T, A): ("Said", "Tick"),
    (T, X): _TOLD_TO_GO,
    (T, W): ("Exited",),
    (T, D): ("Exited",),
    (T, P): ("Exited",),
    (T, G): ("Exited",),
    (R, A): ("Compiled", "Said", "Tick"),
    (R, X): _TOLD_TO_GO,
    (R, W): ("Exited",),
    (R, D): ("Exited",),
    (R, P): ("Exited",),
    (R, G): ("Exited",),
    (A, R): (*_ANSWERS, "Said", "Tick"),
    (A, X): (*_ANSWERS, "Said", "Tick", "Disowned", "Halt", *_ENDS),
    (A, W): ("Exited",),
    (A, D): ("Exited",),
    (A, P): ("Exited",),
    (A, G): ("Exited",),
    (X, W): ("Exited",),
    (X, L): ("Exited",),
    (X, D): ("Exited",),
    (X, P): ("Exited",),
    (X, G): ("Exited",),
    (D, W): ("Tick", "Disowned", "Reload", "Start", "Retry"),
    (D, L): ("Compiled",),
    (D, Q): ("Compiled",),
    (D, P): ("Halt",),
    (D, G): _GONE,
    (P, W): ("Disowned", "Reload", "Start"),
    (P, L): ("Compiled",),
    (P, Q): ("Compiled",),
    (P, G): _ENDS,
}

#: What each action of the table does, in words for users.
MEANINGS = {
    "begin": "an heir: queued, in front of all others",
    "compiled_alive": "it reloads, by an heir if it is rolling, or restarts where a reload "
    "would not do; `NotCompiled`: what runs is left alone; who waits for a config gets it",
    "compiled_idle": "queued, or listening if it is on demand; `NotCompiled`: with its last "
    "good config, else it waits (a zerg is gone); not before its time if it is delayed or "
    "parked",
    "compiled_in_queue": "the newest is what is spawned",
    "compiled_later": "kept for what comes next",
    "compiled_listening": "taken without a process; listening at the new address, or queued if "
    "there is none any more",
    "connected": "queued",
    "die": "killed",
    "disowned": "told to go, then parked; nothing that was compiled for its first owner is run",
    "disowned_idle": "its socket is closed, and what was compiled for its first owner "
    "forgotten; the new owner's config is being compiled",
    "disowned_later": "what was compiled for its first owner is forgotten",
    "die_later": "told to go, and killed, once its pid is known",
    "exited": "see the table of endings",
    "halt": "told to go, then parked",
    "halt_idle": "parked, its socket closed; an heir is gone",
    "halt_later": "parked when its process is gone",
    "heir_failed": "it goes on as it is, and is spawned again as it is",
    "hurry": "its turn is now",
    "leave": "told to go",
    "may_start": "spawning",
    "not_listening": "delayed for a second",
    "now_listening": "its hooks run",
    "not_spawned": "delayed for a second; gone or parked if it is not wanted any more; an "
    "heir is gone",
    "nothing_left": "gone",
    "noticed": "compiled; not while an operator has stopped it",
    "noticed_in_queue": "compiled first, then queued again",
    "reload": "compiled; what runs reloads then",
    "reload_idle": "compiled, and spawned at once; not if an operator has stopped it",
    "retry": "its place on the blacklist is forgotten",
    "retry_idle": "its place on the blacklist is forgotten; delayed or broken, it is tried now",
    "said": "see the table of words",
    "said_while_stopping": "byte 2: its config, and the order to go once more",
    "spawned": "starting; a program that says nothing is ready, if it need not run for a time "
    "first; told to go if it is not wanted any more",
    "start_idle": "compiled, and spawned at once",
    "start_later": "stopped by an operator, or leaving: it runs again after that",
    "start_listening": "queued, without a connection",
    "stopping": "a program: nobody has to tell it to go; see the table of endings",
    "superseded": "told to go, and to answer what it has begun; then gone",
    "tick_alive": "a program has run long enough to be ready; an heir that is not ready in "
    "time is killed; a held-back reload is sent; who hangs, or takes too long, is asked to "
    "reload or killed; a compile that takes too long: the last good config; loyal if it stayed "
    "up long enough",
    "tick_idle": "compiled if something has changed, and spawned; a compile that takes too "
    "long: the last good config",
    "tick_stopping": "told to go, if that was held back for 0.5 s after it accepted requests; "
    "killed, every 5 s",
    "unwanted": "gone when its process is; `Leave`: with less time for it",
    "vanished_alive": "told to go, then gone",
}


def groups() -> list[tuple[Phase, ...]]:
    """Phases that the table answers alike, in the table's order."""
    rows: dict[tuple[tuple[str, str], ...], list[Phase]] = {}
    for phase in dict.fromkeys(phase for phase, _ in TABLE):
        answers = tuple((e.__name__, a.__name__) for (p, e), a in TABLE.items() if p is phase)
        rows.setdefault(answers, []).append(phase)
    return [tuple(phases) for phases in rows.values()]


def events() -> str:
    """The events, each with what its class says of itself."""
    names = dict.fromkeys(event for _, event in TABLE)
    kinds = [kind for kind in vars(ev).values() if isinstance(kind, type) and kind in names]
    rows = [(f"`{kind.__name__}`", _first_sentence(kind.__doc__ or "")) for kind in kinds]
    return _table(("event", "when"), rows)


def tables() -> str:
    """The state by event table, in one piece for each group of phases."""
    pieces = []
    for phases in groups():
        title = "### " + ", ".join(phase.value for phase in phases)
        meanings: dict[str, list[str]] = {}
        for (phase, event), action in TABLE.items():
            if phase is phases[0]:
                meanings.setdefault(MEANINGS[action.__name__], []).append(event.__name__)
        rows = [
            (", ".join(f"`{event}`" for event in names), meaning)
            for meaning, names in meanings.items()
        ]
        pieces.append(f"{title}\n\n{_table(('event', 'what follows'), rows)}")
    return "\n".join(pieces)


def drawing() -> str:
    """Every transition as a branch of its phase."""
    lines = []
    for before in Phase:
        branches = [(after, causes) for (one, after), causes in EDGES.items() if one is before]
        for number, (after, causes) in enumerate(branches):
            stem = f"{before.value} " if number == 0 else ""
            fill = "-" if number == 0 else " "
            fork = "`" if 0 < number == len(branches) - 1 else "+"
            root = f"{stem:{fill}<14}"
            lines.append(f"    {root}{fork}--> {after.value:<10} {', '.join(causes)}")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _first_sentence(text: str) -> str:
    return re.split(r"[.;](?:\s|$)", " ".join(text.split()))[0]


def _table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    cells = [head, *rows]
    widths = [max(len(row[column]) for row in cells) for column in (0, 1)]
    lines = [f"| {a:{widths[0]}} | {b:{widths[1]}} |" for a, b in cells]
    lines.insert(1, f"|{'-' * (widths[0] + 2)}|{'-' * (widths[1] + 2)}|")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(f"{drawing()}\n{events()}\n{tables()}", end="")
