"""The options of the command line, and the output of figures."""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table

# Into a file, tables are as wide as they need to be.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 130)


class BenchFailed(Exception):
    """The measurement failed; the message says why."""


@dataclass(frozen=True)
class Options:
    """How much to measure; None means the benchmark's own default. `postgres`: use PostgreSQL, not SQLite."""

    short: bool = False
    rounds: int | None = None
    sessions: int | None = None
    postgres: bool = False

    def pick_rounds(self, *, short: int, full: int) -> int:
        """How often to repeat."""
        return self.rounds or (short if self.short else full)

    def pick_sessions(self, *, short: int, full: int) -> int:
        """How many sessions at once."""
        return self.sessions or (short if self.short else full)


@dataclass(frozen=True)
class Figure:
    """One result: its name, its value in words, and its aim (if any) and whether it is met."""

    what: str
    value: str
    aim: str = ""
    met: bool | None = None


def at_most(what: str, value: float, aim: float, *, shown: str = "{:.2f}") -> Figure:
    """A figure that should be small."""
    return Figure(what, shown.format(value), f"at most {shown.format(aim)}", value <= aim)


def at_least(what: str, value: float, aim: float, *, shown: str = "{:.2f}") -> Figure:
    """A figure that should be large."""
    return Figure(what, shown.format(value), f"at least {shown.format(aim)}", value >= aim)


def fact(what: str, value: str) -> Figure:
    """A figure without an aim."""
    return Figure(what, value)


@dataclass
class Results:
    """The results of this run, by benchmark."""

    figures: dict[str, list[Figure]] = field(default_factory=dict)

    def show(self, name: str, title: str, figures: Sequence[Figure]) -> None:
        """Print figures beside their aims, and keep them for the summary."""
        self.figures.setdefault(name, []).extend(figures)
        _print(title, [("", figure) for figure in figures])

    def show_summary(self) -> None:
        """Print every figure with an aim once more."""
        aimed = [(name, f) for name, figures in self.figures.items() for f in figures if f.aim]
        _print("figures with an aim", aimed)


def _print(title: str, figures: Sequence[tuple[str, Figure]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in ("", "figure", "aim", "met"):
        table.add_column(column, justify="left" if not column else "right")
    for name, figure in figures:
        met = {None: "", True: "[green]yes[/]", False: "[red]no[/]"}[figure.met]
        table.add_row(" ".join(filter(None, [name, figure.what])), figure.value, figure.aim, met)
    console.print(table)


def show_times(title: str, rows: Sequence[tuple[str, Sequence[float]]]) -> None:
    """Print a table of durations, given in seconds."""
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in ("", "samples", "min", "p50", "p95", "max"):
        table.add_column(column, justify="right" if column else "left")
    for name, values in rows:
        if values:
            figures = (min(values), p50(values), p95(values), max(values))
            table.add_row(name, str(len(values)), *(seconds(value) for value in figures))
        else:
            table.add_row(name, "0", "", "", "", "")
    console.print(table)


def p50(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def p95(values: Sequence[float]) -> float:
    """The 95th percentile; for few values, close to the largest."""
    return statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]


def seconds(value: float) -> str:
    """A duration in words."""
    return f"{value * 1e3:.0f} ms" if value < 2 else f"{value:.1f} s"


def say(line: str) -> None:
    """Print the progress."""
    console.print(line, markup=False)
