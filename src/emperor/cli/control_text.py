"""What the commands of the control socket print: tables, lines and paragraphs. Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from emperor.runtime.control.protocol import Answer, Outcome, Request
from emperor.runtime.views import VassalView

HEADINGS = ("VASSAL", "STATE", "PID", "UP", "RESPAWNS", "NOTE")

_TIMES = "%Y-%m-%d %H:%M:%S"
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def printable(text: str) -> str:
    """A text that stays on its line and does nothing to a terminal; a byte that is no
    character is shown as ``\\xNN``."""
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def duration(seconds: float) -> str:
    """A time span in its largest unit."""
    whole = max(0, int(seconds))
    for length, unit in _UNITS:
        if whole >= length:
            return f"{whole // length} {unit}"
    return "0 s"


# -- status --------------------------------------------------------------------------------


def row(answer: Answer, now: float) -> tuple[str, ...]:
    """A vassal in the table of ``status``, under ``HEADINGS``; ``now`` is epoch seconds."""
    view = answer.view
    if view is None:
        return (printable(answer.name), answer.outcome.value, "-", "-", "-", _absence(answer))
    has_process = view.pid > 0
    return (
        printable(view.shown),
        view.state,
        str(view.pid) if has_process else "-",
        duration(now - view.last_run) if has_process and view.last_run else "-",
        str(view.respawns),
        printable(_note(view)),
    )


def aligned(rows: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The same table, each cell as wide as its column and the space behind it."""
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    return [tuple(map(str.ljust, cells, widths)) for cells in rows]


def _note(view: VassalView) -> str:
    parts = [] if view.is_well else [reason(view)]
    if not (view.is_well and view.is_settled):
        parts.append(view.outlook)
    return "; ".join(part for part in parts if part)


def _absence(answer: Answer) -> str:
    return "no such vassal" if answer.outcome is Outcome.UNKNOWN else ""


# -- one line for each vassal --------------------------------------------------------------


def line(answer: Answer, request: Request) -> str:
    """What became of a request for one vassal."""
    name = answer.name if answer.view is None else answer.view.shown
    return printable(f"{name}: {_became(answer, request)}")


def _became(answer: Answer, request: Request) -> str:
    view = answer.view
    match answer.outcome:
        case Outcome.UNKNOWN:
            return "no such vassal"
        case Outcome.GONE:
            return "gone"
        case Outcome.STOPPED:
            return "stopped"
        case Outcome.SKIPPED:
            return "left alone, as another one failed"
        case Outcome.ASKED:
            return f"asked to {request.verb.value if request.verb else 'wait'}"
        case Outcome.WELL:
            return "well" if view is None else _doing(view)
        case Outcome.FAILED:
            return _joined("failed", view, ": ")
        case Outcome.PENDING:
            state = "under way" if view is None else view.state
            return _joined(f"still {state} after {request.timeout_seconds:g} s", view, "; ")


def _doing(view: VassalView) -> str:
    return f"{view.state} (pid {view.pid})" if view.pid > 0 else view.state


def _joined(text: str, view: VassalView | None, separator: str) -> str:
    if view is None:
        return text
    reasons = [reason(view)] if separator == ": " else []
    return text + separator + "; ".join(part for part in [*reasons, view.outlook] if part)


def reason(view: VassalView) -> str:
    """Why a vassal is not well, in a few words, if that is known."""
    if view.is_broken and view.diagnostics:
        errors = [text for text in view.diagnostics if " error[" in text.partition("\n")[0]]
        return (errors or list(view.diagnostics))[0].partition("\n")[0]
    if view.is_broken:
        return "its config is broken"
    return view.last_exit


# -- why -----------------------------------------------------------------------------------


def why(answer: Answer, now: float) -> str:
    """All that is known of why a vassal is as it is, as a paragraph."""
    view = answer.view
    if view is None:
        return f"{printable(answer.name)}: {_absence(answer) or answer.outcome.value}\n"
    facts = [*_facts(view, now), *_blocks(view)]
    width = max(len(label) for label, _ in facts)
    text = f"{printable(view.shown)}: {_doing(view)}\n"
    for label, lines in facts:
        for number, words in enumerate(lines):
            head = label if number == 0 else ""
            text += f"  {head:{width}}  {printable(words)}".rstrip() + "\n"
    return text


def _facts(view: VassalView, now: float) -> Iterator[tuple[str, list[str]]]:
    yield "monitor", [view.monitor]
    yield "phase", [_phases(view, now)]
    if view.cursed:
        yield "told to go", [_moment(view.cursed, now)]
    exit_ = f"{view.last_exit}, {_moment(view.last_exit_at, now)}" if view.last_exit else "none"
    yield "last exit", [exit_]
    if view.attempts:
        deaths = "death" if view.attempts == 1 else "deaths"
        throttle = f"throttled by {view.throttle_milliseconds} ms"
        yield "blacklist", [f"{view.attempts} {deaths} before it was loyal, {throttle}"]
    when = f" ({_clock(view.next_try)})" if view.next_try else ""
    yield "next", [f"{view.outlook}{when}"]


def _blocks(view: VassalView) -> Iterator[tuple[str, list[str]]]:
    findings = [words for text in view.diagnostics for words in text.rstrip().split("\n")]
    yield "findings", findings or ["none"]
    absent = "none, or not captured (emperor-capture-output)"
    yield "output", view.output.rstrip().split("\n") if view.output.strip() else [absent]


def _phases(view: VassalView, now: float) -> str:
    """How far it has come. What happened before it was last spawned is history."""
    if not view.last_run:
        return "never spawned"
    reached = [f"spawned {_moment(view.last_run, now)}"]
    for word, moment in (("accepting", view.last_accepting), ("loyal", view.last_loyal)):
        is_reached = moment >= view.last_run
        reached.append(f"{word} {_moment(moment, now)}" if is_reached else f"not {word}")
    return ", ".join(reached)


def _moment(moment: int, now: float) -> str:
    return f"{_clock(moment)} ({duration(now - moment)} ago)"


def _clock(moment: int) -> str:
    return time.strftime(_TIMES, time.localtime(moment))
