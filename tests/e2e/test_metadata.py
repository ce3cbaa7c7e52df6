"""A user's own agent gets exactly the client's metadata, and nothing of ours."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.sessions import Rollcall, until
from tests.support.workers import foreign_worker

pytestmark = pytest.mark.e2e

GIVEN: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"metadata": "plain words, ünd 你好"}, "plain words, ünd 你好"),
    ({"metadata": '["a list"]'}, '["a list"]'),
    ({"metadata": {"customer": "c-1"}}, '{"customer": "c-1"}'),
    ({"metadata": {"rollcall": {"attempt": 99}}}, '{"rollcall": {"attempt": 99}}'),
    # The longest allowed instructions, with characters that compress badly.
    ({"metadata": {"a": 1}, "instructions": "".join(map(chr, range(0x20000, 0x24000)))}, '{"a": 1}'),
]


async def test_an_agent_of_ones_own_gets_what_the_client_gave_to_the_letter(
    agentless: Rollcall, worker_log: Path, tmp_path: Path
) -> None:
    told = tmp_path / "told.jsonl"
    told.touch()
    worker = foreign_worker(agentless.stack, agent_name="mine", log=worker_log, env={"TOLD": str(told)})
    async with worker:
        expected = {}
        started = [await agentless.start(agent_name="mine", **wish) for wish, _ in GIVEN]
        for one, (_, metadata) in zip(started, GIVEN, strict=True):
            expected[one["room_name"]] = metadata
        wish = {"room_config": {"agents": [{"agent_name": "mine", "metadata": "by token"}]}}
        async with httpx.AsyncClient(base_url=agentless.stack.api_url) as http:
            reserved = (await http.post("/v1/token", json=wish)).json()
        assert (await agentless.session(reserved["session_id"]))["metadata"] == "by token"

        async def all_told() -> bool:
            return dict(map(json.loads, told.read_text().splitlines())) == expected

        await until(all_told, what="each job has been told its metadata")
        for one in started:
            await agentless.until_status(one["session_id"], "active")
            await agentless.end(one["session_id"])
