"""What a bench is asked for, and what it hands back: series of values, medians and ratios."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass


class BenchError(Exception):
    """A contender failed or took longer than its deadline: there is nothing to compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the command line asked for; ``runs`` is None where the bench's own number holds."""

    vassals: int
    runs: int | None
    say: Callable[[str], None]  # progress, one line each

    def runs_or(self, default: int) -> int:
        """How often to measure."""
        return default if self.runs is None else self.runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One quantity of one contender, measured at least once."""

    who: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def p99(self) -> float:
        """The value that 99 of 100 do not exceed (nearest rank)."""
        return sorted(self.values)[math.ceil(0.99 * len(self.values)) - 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One quantity, by contender. ``ratio`` names whose median is divided by whose."""

    what: str
    unit: str
    series: tuple[Series, ...]
    ratio: tuple[str, str] | None = None
    bar: str = ""  # what the project asks for, for the reader: nothing here passes or fails

    def ratio_value(self) -> float | None:
        """The ratio of the two medians, or None where a side is missing or zero."""
        medians = {one.who: one.median for one in self.series}
        if self.ratio is None or not all(medians.get(who) for who in self.ratio):
            return None
        above, below = self.ratio
        return medians[above] / medians[below]

    def as_json(self) -> dict[str, object]:
        """The finding with every value, for the results file."""
        return {
            "what": self.what,
            "unit": self.unit,
            "bar": self.bar,
            "ratio": self.ratio and f"{self.ratio[0]} / {self.ratio[1]}",
            "ratio_value": self.ratio_value(),
            "series": [_series_json(one) for one in self.series],
        }


def _series_json(series: Series) -> dict[str, object]:
    return {
        "who": series.who,
        "runs": len(series.values),
        "min": min(series.values),
        "median": series.median,
        "p99": series.p99,
        "max": max(series.values),
        "values": list(series.values),
    }


def gather(samples: dict[str, list[float]]) -> tuple[Series, ...]:
    """Series from lists of values by contender; a contender without values is left out."""
    return tuple(
        Series(who=who, values=tuple(values)) for who, values in samples.items() if values
    )
