"""The results of the fault tests, for the table at the end: causes, times, and four counts that must be 0."""

from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Finding:
    """One scenario: its true causes, the cause that was named, and how long that took."""

    scenario: str
    expected: tuple[str, ...]
    named: str | None
    critical_s: float | None = None
    lost_s: float | None = None
    replaced_s: float | None = None
    note: str = ""

    @property
    def right(self) -> bool:
        """Whether the named cause is true."""
        return self.named in self.expected


@dataclass
class Scoreboard:
    """Filled by the tests of one run."""

    findings: list[Finding] = field(default_factory=list)
    seeds: list[tuple[str, int]] = field(default_factory=list)
    sessions: int = 0
    double_agents: int = 0
    missing_agents: int = 0
    stuck_sessions: int = 0
    false_causes: int = 0
    unheard: int = 0  # processes that ended without reporting their counts

    def add(self, finding: Finding) -> None:
        """Record a scenario; fail the test if its cause is false."""
        self.findings.append(finding)
        self.sessions += 1
        self.false_causes += not finding.right
        assert finding.right, f"{finding.scenario}: {finding.named}, not {' or '.join(finding.expected)}"

    def take_in(self, other: "Scoreboard") -> None:
        """Add what another process of the same run found."""
        self.findings += other.findings
        self.seeds += other.seeds
        self.sessions += other.sessions
        self.double_agents += other.double_agents
        self.missing_agents += other.missing_agents
        self.stuck_sessions += other.stuck_sessions
        self.false_causes += other.false_causes

    def counts(self) -> dict[str, int]:
        """The four counts."""
        return {
            "double agents": self.double_agents,
            "missing agents": self.missing_agents,
            "stuck sessions": self.stuck_sessions,
            "false causes": self.false_causes,
        }

    @property
    def broken_promises(self) -> int:
        """Return the counts above 0 that fail no test of their own; a false cause fails its test."""
        return self.double_agents + self.missing_agents + self.stuck_sessions + self.unheard

    def print(self, console: Console) -> None:
        """The table, the seeds and the counts."""
        console.print(self._table())
        for what, seed in self.seeds:
            console.print(f"seed of {what}: {seed} (again with SEED={seed})")
        counts = ", ".join(f"{count} {what}" for what, count in self.counts().items())
        style = "bold red" if any(self.counts().values()) else "bold green"
        console.print(f"[{style}]{self.sessions} sessions: {counts}[/]")

    def _table(self) -> Table:
        table = Table(title="Faults: cause expected against cause named; seconds to each event")
        for heading in ("scenario", "expected", "named"):
            table.add_column(heading, overflow="fold")
        for heading in ("critical", "lost", "replaced"):
            table.add_column(heading, justify="right")
        table.add_column("note", overflow="fold")
        for row in self.findings:
            named = f"[{'green' if row.right else 'bold red'}]{row.named}[/]"
            table.add_row(
                row.scenario,
                " or ".join(row.expected),
                named,
                *(_seconds(value) for value in (row.critical_s, row.lost_s, row.replaced_s)),
                row.note,
            )
        return table


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
