"""Written conversations with a recording agent, over connections that a test can break anywhere."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
from livekit import rtc
from livekit.agents.types import TOPIC_CHAT

from devstack.ports import free_port
from devstack.stack import Stack
from shared.contracts.keys import TURNS_STREAM, job_beat_field
from shared.core.workers.beats import read_beats
from shared.platform.redis.client import connect_redis
from tests.support.restartable_postgres import RestartablePostgres
from tests.support.sessions import TERMINAL, Rollcall, until
from tests.support.spoken import Job, Reckoning, TranscriptBoard, Turn, read_recordings, spoken_in
from tests.support.wire import Wire
from tests.support.workers import OurWorker, our_worker

NAME = "clerk"
PROGRAM = "from tests.support.recording_agent import main; main()"


class Line:
    """All parts between a caller and the database, and methods that break them."""

    def __init__(self, stack: Stack, postgres: RestartablePostgres, wire: Wire, folder: Path) -> None:
        self.stack = stack
        self.postgres = postgres
        self.wire = wire
        self.folder = folder
        self.recordings = folder / "recordings"
        self.spool = folder / "spool"
        self.rollcall = Rollcall(stack)
        self.probe_port = free_port()
        self._workers = AsyncExitStack()
        self._started = 0

    async def start_worker(self) -> OurWorker:
        self._started += 1
        url = f"redis://127.0.0.1:{self.wire.port}/0"
        return await self._workers.enter_async_context(
            our_worker(
                self.rollcall,
                agent_name=NAME,
                log=self.folder / f"worker-{self._started}.log",
                program=PROGRAM,
                env={
                    "REDIS_URL": url,
                    "RECORDINGS": str(self.recordings),
                    "AGENT_SPOOL_DIR": str(self.spool),
                    "PROBE_PORT": str(self.probe_port),
                },
            )
        )

    async def close(self) -> None:
        await self._workers.aclose()
        await self.rollcall.close()

    async def rows(self, session_id: str) -> list[tuple[str, str, int]]:
        """Return the stored turns: item id, text and number, in order."""
        connection = await self.postgres.connect()
        try:
            found = await connection.fetch(
                "SELECT item_id, text, seq FROM transcript_item WHERE session_id = $1"
                " ORDER BY seq, created_at",
                session_id,
            )
        finally:
            await connection.close()
        return [(row["item_id"], row["text"], row["seq"]) for row in found]

    async def in_redis(self) -> int:
        """Return how many turns the stream has."""
        redis = connect_redis(self.stack.redis_url)
        try:
            return int(await redis.xlen(TURNS_STREAM))
        finally:
            await redis.aclose()

    async def pending(self) -> int:
        """Return how many turns consumers hold unacknowledged."""
        redis = connect_redis(self.stack.redis_url)
        try:
            [group] = await redis.xinfo_groups(TURNS_STREAM)
            return int(group["pending"])
        finally:
            await redis.aclose()

    async def until_beating(self, session_id: str, attempt: int) -> None:
        """Wait for another beat of this attempt's job in Redis."""
        redis = connect_redis(self.stack.redis_url)
        field = job_beat_field(session_id, attempt)
        before = (await read_beats(redis)).counts.get(field)

        async def beats() -> bool:
            return (await read_beats(redis)).counts.get(field) != before

        await until(beats, what="the job beats")
        await redis.aclose()

    async def kill(self, *names: str) -> None:
        for name in names:
            self.stack.process(name).kill_group()
            await self.stack.process(name).wait_exit()

    async def start(self, *names: str) -> None:
        await asyncio.gather(*(self.stack.process(name).start() for name in names))

    async def restore_wire(self) -> None:
        """Restore the wire, and drop the data that it held."""
        await self.wire.drop()
        self.wire.mend()

    def on_disk(self, turn: Turn) -> bool:
        """Return whether a turn is in the worker's spool."""
        return any(turn[0] in file.read_text() for file in self.spool.glob("*.jsonl"))

    def log(self) -> str:
        """Return the workers' logs."""
        return "".join(file.read_text() for file in self.folder.glob("worker-*.log"))

    async def metric(self, name: str) -> float:
        async with httpx.AsyncClient() as http:
            text = (await http.get(f"http://127.0.0.1:{self.probe_port}/metrics")).text
        return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"{name} ")))


class Talk:
    """One session with its caller in the room, and its conversation so far."""

    def __init__(self, line: Line, started: dict[str, Any], room: rtc.Room | None) -> None:
        self.line = line
        self.session_id: str = started["session_id"]
        self._room_name: str = started["room_name"]
        self._room = room

    @property
    def jobs(self) -> list[Job]:
        return read_recordings(self.line.recordings, self._room_name)

    async def said(self, text: str, *, times: int = 1) -> None:
        """Wait until this text is recorded."""

        async def check() -> bool:
            return [turn[1] for job in self.jobs for turn in job.spoken].count(text) >= times

        await until(check, what=f"{text!r} is said")

    async def exchange(self, question: str) -> None:
        """Write to the agent and wait for its answer."""
        assert self._room is not None
        asked = sum(turn[1] == question for job in self.jobs for turn in job.spoken)
        await self._room.local_participant.send_text(question, topic=TOPIC_CHAT)

        async def answered() -> bool:
            texts = [turn[1] for job in self.jobs for turn in job.spoken]
            if texts.count(question) <= asked:
                return False
            last = len(texts) - 1 - texts[::-1].index(question)
            return len(texts) > last + (3 if question in ("Look it up", "Hand me over") else 1)

        await until(answered, what=f"an answer to {question!r}")

    async def until_stored(self) -> list[Turn]:
        """Wait until the database has as many turns as were spoken; return them."""

        async def there() -> bool:
            return len(await self.line.rows(self.session_id)) >= len(spoken_in(self.jobs))

        await until(there, what="everything is stored", timeout_s=90)
        return spoken_in(self.jobs)

    async def reckon(self, board: TranscriptBoard, scenario: str) -> None:
        """Compare during the conversation."""
        spoken = await self.until_stored()
        transcript = await self.line.rollcall.transcript(self.session_id)
        assert transcript["missing"] == []
        complete = transcript["complete"]
        rows = await self.line.rows(self.session_id)
        board.add(Reckoning.of(scenario, spoken, rows, complete=complete, expected=None))

    async def reckon_at_the_end(self, board: TranscriptBoard, scenario: str) -> dict[str, Any]:
        """Compare after the conversation, when its transcript is complete."""
        await self.line.rollcall.until_status(self.session_id, "ended")

        async def counted() -> bool:
            return bool((await self.line.rollcall.transcript(self.session_id))["complete"])

        await until(counted, what="the transcript says that it is complete")
        spoken = await self.until_stored()
        transcript = await self.line.rollcall.transcript(self.session_id)
        rows = await self.line.rows(self.session_id)
        board.add(Reckoning.of(scenario, spoken, rows, complete=transcript["complete"], expected=True))
        return transcript

    async def attempt(self) -> int:
        """Return the number of the current attempt."""
        return int((await self.line.rollcall.session(self.session_id))["attempt"])

    async def until_another_agent(self, *, after: int) -> None:
        """Wait until the agent of a later attempt listens."""

        async def listens() -> bool:
            session = await self.line.rollcall.session(self.session_id)
            ready = [
                event["data"]["attempt"]
                for event in await self.line.rollcall.events(self.session_id)
                if event["type"] == "agent.ready.v1"
            ]
            assert session["status"] not in TERMINAL, session
            return bool(session["status"] == "active" and after < session["attempt"] in ready)

        await until(listens, what="another agent listens")
