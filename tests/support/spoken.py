"""Compare what was spoken with what is stored: the jobs' recordings and the database's rows."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

Turn = tuple[str, str]
"""Item id and text."""


@dataclass
class Job:
    """The recording of one job; `history` is the SDK's own at the end, which a killed job lacks."""

    pid: int
    room: str
    began: float
    spoken: list[Turn] = field(default_factory=list)
    history: list[Turn] | None = None


def read_recordings(folder: Path, room: str) -> list[Job]:
    """The jobs of a room, the oldest first."""
    jobs = []
    for file in folder.glob("*.jsonl"):
        lines = [
            json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")
        ]
        if not lines or lines[0]["room"] != room:
            continue
        job = Job(lines[0]["pid"], room, lines[0]["began"])
        for line in lines[1:]:
            if "spoken" in line:
                job.spoken.append(tuple(line["spoken"]))
            else:
                job.history = [tuple(turn) for turn in line["history"] if turn is not None]
        jobs.append(job)
    return sorted(jobs, key=lambda job: job.began)


def spoken_in(jobs: list[Job]) -> list[Turn]:
    """Return the turns of all jobs, in order; fail if a job's recording differs from its SDK's history."""
    turns: list[Turn] = []
    for job in jobs:
        if job.history is not None:
            known = set(turns)
            assert set(job.history) - known == set(job.spoken) - known
        turns += job.spoken
    return turns


@dataclass(frozen=True)
class Reckoning:
    """One scenario; every difference must be 0.

    `missing`: turns that the transcript names as missing, where nothing could have saved them.
    """

    scenario: str
    spoken: int
    stored: int
    lost: int
    twice: int
    out_of_order: int
    complete: bool | None
    expected: bool | None
    missing: int = 0

    @classmethod
    def of(
        cls,
        scenario: str,
        spoken: list[Turn],
        rows: list[tuple[str, str, int]],
        *,
        complete: bool | None,
        expected: bool | None,
        missing: int = 0,
    ) -> "Reckoning":
        """Compare; `rows` are item id, text and sequence number, in order."""
        stored = [(item_id, text) for item_id, text, _ in rows]
        numbers = [seq for _, _, seq in rows]
        in_common = [turn for turn in spoken if turn in set(stored)]
        return cls(
            scenario=scenario,
            spoken=len(spoken),
            stored=len(stored),
            lost=len(set(spoken) - set(stored)),
            twice=len(stored) - len({item_id for item_id, _ in stored}) + len(numbers) - len(set(numbers)),
            out_of_order=sum(a != b for a, b in zip(in_common, stored, strict=False)),
            complete=complete,
            expected=expected,
            missing=missing,
        )

    @property
    def differs(self) -> bool:
        """Whether anything differs from what was spoken."""
        unsaid = (self.spoken - self.stored - self.missing, self.lost - self.missing)
        differences = (*unsaid, self.twice, self.out_of_order)
        return any(differences) or self.complete is not self.expected


@dataclass
class TranscriptBoard:
    """Filled by the tests of one run, and printed at its end."""

    rows: list[Reckoning] = field(default_factory=list)

    def add(self, row: Reckoning) -> None:
        """Record a scenario; fail the test if anything differs."""
        self.rows.append(row)
        assert not row.differs, row

    def print(self, console: Console) -> None:
        """The table."""
        table = Table(title="Transcripts: turns spoken, by the SDK's own history, against turns stored")
        table.add_column("scenario", overflow="fold")
        for heading in ("spoken", "stored", "named missing", "twice", "out of order"):
            table.add_column(heading, justify="right")
        table.add_column("complete")
        for row in self.rows:
            style = "bold red" if row.differs else None
            numbers = (row.spoken, row.stored, row.missing, row.twice, row.out_of_order)
            complete = "so far" if row.complete is None else str(row.complete).lower()
            table.add_row(row.scenario, *map(str, numbers), complete, style=style)
        console.print(table)
        differing = sum(row.differs for row in self.rows)
        style = "bold red" if differing else "bold green"
        console.print(f"[{style}]{len(self.rows)} scenarios, {differing} with differences[/]")
