"""Turns on a worker's disk outlive their job, and leave it only when the database has them."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path

from prometheus_client import REGISTRY

from devstack.process import Process
from rollcall_agent.job.turns import TurnLog
from rollcall_agent.report import Reporter
from rollcall_agent.spool.resend import BACKOFF_MAX_S, DEAD_S, RESEND_S
from rollcall_agent.spool.spool import JobSpool, SpooledOutbox
from rollcall_agent.worker.shared_counter import SharedCounter
from shared.contracts.events import AgentReported, Envelope, Step
from shared.contracts.keys import REPORTS_STREAM, TURNS_STREAM
from shared.core.transcripts.erasure import MARKER_TTL, mark_erased
from shared.core.transcripts.watermark import publish_counted, publish_stored
from shared.platform.redis.client import connect_redis
from tests.integration.agent.spooling import Host, Job, counts_sent, sent, turns_sent
from tests.stack_fixtures.waiting import eventually
from tests.unit.agent.agent_fakes import FACTS, SESSION, ListedOutbox, an_order
from tests.unit.rollcall_agent.test_turns import a_message


async def test_a_turn_is_on_disk_before_it_is_offered_to_redis(folder: Path) -> None:
    seen: list[bytes] = []

    class Looking(ListedOutbox):
        def offer(self, stream: str, envelope: Envelope) -> bool:
            seen.append(b"".join(file.read_bytes() for file in folder.iterdir()))
            return super().offer(stream, envelope)

    outbox = SpooledOutbox(Looking(), JobSpool(folder, failures=SharedCounter()))
    Reporter(order=an_order(), facts=FACTS, outbox=outbox).step(Step.ENTRYPOINT_STARTED)
    log = TurnLog(order=an_order(), facts=FACTS, outbox=outbox)
    log.message(a_message("Where are you?"), caller=None, language=None)
    assert b"entrypoint_started" in seen[0]
    assert b"Where are you?" in seen[1]


async def test_only_what_must_not_be_lost_is_on_disk_and_only_for_its_owner(folder: Path) -> None:
    job = Job(folder)
    job.reporter.step(Step.READY)
    job.say("Hello")
    await job.close()
    [file] = folder.iterdir()
    mark, *lines = file.read_bytes().splitlines()
    assert mark == b"0000000000", "every turn could be written"
    kinds = [Envelope.model_validate_json(line) for line in lines]
    assert [kind.data.get("step", "turn") for kind in kinds] == ["entrypoint_started", "turn", "closed"]
    assert file.name.startswith(f"{SESSION}.1.AJ_1.")
    assert [oct(path.stat().st_mode & 0o777) for path in (folder, file)] == ["0o700", "0o600"]


async def test_the_spool_of_a_living_job_is_left_alone_while_its_turns_arrive(host: Host) -> None:
    job = Job(host.folder)
    job.say("one", "two")
    await host.after()
    await publish_stored(host.redis, job.said)
    await host.after(10 * RESEND_S)
    assert await turns_sent(host.redis) == []
    assert len(host.files()) == 1, "it lives"


async def test_turns_that_redis_has_lost_are_sent_again_in_order_and_ever_more_seldom(host: Host) -> None:
    job = Job(host.folder)
    job.say("one", "two", "three")
    await host.after()
    await host.after(RESEND_S - 0.1)
    assert await turns_sent(host.redis) == []
    await host.after(0.2)
    all_three = [(1, "one"), (2, "two"), (3, "three")]
    assert await turns_sent(host.redis) == all_three
    for _ in range(200):
        await host.after(1.0)
    resends = len(await turns_sent(host.redis)) / 3
    assert 5 <= resends <= 2 + 200 / BACKOFF_MAX_S + 5
    assert await counts_sent(host.redis) == [], "it lives, and will count itself"
    await publish_stored(host.redis, job.said[:2])
    await host.after(1.0)
    await host.redis.delete(TURNS_STREAM)
    await host.after(RESEND_S)
    assert await turns_sent(host.redis) == [(3, "three")]


async def test_what_a_dead_job_left_is_sent_and_counted_until_both_are_in_the_database(host: Host) -> None:
    job = Job(host.folder, first_seq=7)
    job.say("one", "two")
    await host.after()
    await job.die()
    await host.after()
    await host.after(DEAD_S)
    assert await turns_sent(host.redis) == [(7, "one"), (8, "two")]
    assert await counts_sent(host.redis) == [(Step.SETTLED, 2)]
    await publish_stored(host.redis, job.said)
    await host.after()
    assert len(host.files()) == 1, "its count is not known to be written down"
    [report] = await sent(host.redis, REPORTS_STREAM)
    await publish_counted(host.redis, [report])
    await host.after()
    assert host.files() == []


async def test_a_job_that_closed_in_order_is_forgotten_without_a_word(host: Host) -> None:
    torn = REGISTRY.get_sample_value("agent_spool_torn_lines_total")
    job = Job(host.folder)
    job.say("one")
    await job.close()
    reports = [event for event in job.outbox.events if isinstance(event, AgentReported)]
    await publish_stored(host.redis, job.said)
    await publish_counted(host.redis, reports[-1:])
    await host.after()
    assert (host.files(), await counts_sent(host.redis)) == ([], [])
    assert REGISTRY.get_sample_value("agent_spool_torn_lines_total") == torn


async def test_a_closing_report_that_redis_did_not_take_comes_from_the_disk(host: Host) -> None:
    job = Job(host.folder)
    job.say("one")
    await job.close()
    await host.after()
    await publish_stored(host.redis, job.said)
    await host.after(RESEND_S)
    assert await counts_sent(host.redis) == [(Step.CLOSED, 1)]
    [report] = await sent(host.redis, REPORTS_STREAM)
    assert report.reason == "user_initiated"


async def test_a_job_that_died_before_its_first_word_is_counted_too(host: Host) -> None:
    await Job(host.folder).die()
    await host.after()
    await host.after(DEAD_S)
    assert await counts_sent(host.redis) == [(Step.SETTLED, 0)]


async def test_the_next_worker_of_the_host_sends_at_once_what_the_last_one_left(host: Host) -> None:
    job = Job(host.folder)
    job.say("one", "two")
    await job.die()
    await host.after()
    assert await turns_sent(host.redis) == [(1, "one"), (2, "two")]


async def test_one_worker_of_a_host_looks_after_all_files_and_the_next_takes_over(host: Host) -> None:
    first, second = host.worker(), host.worker()
    assert first.holds_lock()
    assert not second.holds_lock()
    await first.finish(within_s=0)
    assert second.holds_lock()
    await second.finish(within_s=0)


async def test_a_line_that_a_crash_cut_off_is_missed_and_nothing_else(host: Host) -> None:
    job = Job(host.folder)
    job.say("one", "two", "three")
    await job.die()
    [file] = host.files()
    os.truncate(file, file.stat().st_size - 40)
    await host.after()
    assert await turns_sent(host.redis) == [(1, "one"), (2, "two")]
    assert await counts_sent(host.redis) == [(Step.SETTLED, 3)], "the third was spoken"


async def test_a_file_without_a_word_that_can_be_read_is_removed(host: Host) -> None:
    (host.folder / f"{SESSION}.1.AJ_1.abc.jsonl").write_bytes(b"\0" * 4096)
    await host.after()
    assert host.files() == []


async def test_of_an_erased_session_no_word_is_sent_or_stays_on_disk_but_every_turn_counts(
    host: Host,
) -> None:
    job = Job(host.folder)
    job.say("my secret", "and another secret")
    await host.after()
    await mark_erased(host.redis, [SESSION])
    await host.after()
    [file] = host.files()
    assert b"secret" not in file.read_bytes()
    job.say("a third secret")
    await host.after()
    assert b"secret" not in file.read_bytes()
    await job.close()
    await host.after()
    await host.after(DEAD_S)
    assert await turns_sent(host.redis) == [(1, ""), (2, ""), (3, "")]
    assert await counts_sent(host.redis) == [(Step.CLOSED, 3)]
    # And so it is for a worker that begins with that file.
    other = host.worker()
    await other.round()
    assert [seq for seq, _ in await turns_sent(host.redis)] == [1, 2, 3, 1, 2, 3]


async def test_what_nobody_takes_for_a_month_is_given_up(host: Host) -> None:
    job = Job(host.folder)
    job.say("one")
    await job.die()
    host.later = MARKER_TTL - timedelta(minutes=1)
    await host.after()
    assert len(host.files()) == 1
    host.later = MARKER_TTL + timedelta(minutes=1)
    await host.after(BACKOFF_MAX_S)
    assert host.files() == []


async def test_a_redis_that_is_away_costs_nothing_but_time(
    folder: Path, own_redis: tuple[str, Process]
) -> None:
    url, server = own_redis
    client = connect_redis(url)
    host = Host(folder, client)
    job = Job(folder)
    job.say("one")
    await job.die()
    server.kill_group()
    await server.wait_exit()
    assert not await host.after()
    assert not await host.after(BACKOFF_MAX_S)
    await server.start()
    assert await host.after(1.0)
    assert await turns_sent(client) == [(1, "one")]
    await client.aclose()


async def test_a_worker_that_stops_sees_off_its_last_jobs_and_does_not_wait_for_ever(host: Host) -> None:
    job = Job(host.folder)
    job.say("one")
    await job.die()

    async def pass_time() -> None:
        while True:
            await asyncio.sleep(0.01)
            host.time += 0.1

    clock = asyncio.create_task(pass_time())
    await host.resender.finish(within_s=1.5)
    assert len(host.files()) == 1
    host.resender = host.worker()
    finishing = asyncio.create_task(host.resender.finish(within_s=60.0))

    async def counted() -> bool:
        return bool(await counts_sent(host.redis))

    await eventually(counted)
    await publish_stored(host.redis, job.said)
    await publish_counted(host.redis, await sent(host.redis, REPORTS_STREAM))
    await finishing
    clock.cancel()
    assert host.files() == []
