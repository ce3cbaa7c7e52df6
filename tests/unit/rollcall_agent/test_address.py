"""The second registration rests on private names of LiveKit's SDK: it is said which of them are gone."""

import inspect

from livekit.agents import AgentServer

from rollcall_agent.worker.address import SDK_NAMES, new_address

# Set by `run`, so not there before.
WHILE_IT_RUNS = {"_http_session", "_job_lifecycle_tasks", "_pending_assignments"}


def test_the_sdk_still_has_what_an_address_needs() -> None:
    server = AgentServer()
    assert [name for name in SDK_NAMES if name not in WHILE_IT_RUNS and not hasattr(server, name)] == []
    source = inspect.getsource(AgentServer)
    assert [name for name in WHILE_IT_RUNS if f"self.{name}" not in source] == []


def test_the_sdk_still_sends_everything_through_one_function() -> None:
    source = inspect.getsource(AgentServer)
    assert source.count("_msg_chan.send(") == 1
    assert "await self._msg_chan.send(msg)" in inspect.getsource(AgentServer._queue_msg)


def test_the_sdks_handlers_still_take_one_message() -> None:
    for handler in (
        AgentServer._handle_availability,
        AgentServer._handle_assignment,
        AgentServer._handle_termination,
    ):
        assert list(inspect.signature(handler).parameters)[1:] in (["msg"], ["assignment"])


def test_an_address_is_one_that_livekit_allows_and_that_nobody_had() -> None:
    addresses = {new_address() for _ in range(100)}
    assert len(addresses) == 100
    assert all(len(one) <= 64 and "_" not in one and not one.isspace() for one in addresses)
