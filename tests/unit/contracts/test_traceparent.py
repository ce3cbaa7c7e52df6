"""A traceparent is read as W3C Trace Context says, and an unreadable one is ignored."""

import pytest

from shared.contracts.dispatching import DispatchOrder
from shared.contracts.events import Envelope, UnknownEvent
from shared.contracts.identifiers import SessionId, new_id
from shared.contracts.traceparent import is_sampled, trace_id_of, valid_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (SAMPLED, SAMPLED),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        # Of the flags we know only one; a later version may say more, behind what we know.
        (f"00-{TRACE}-{SPAN}-03", SAMPLED),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-says", SAMPLED),
    ],
)
def test_what_is_valid_is_said_in_the_words_of_version_00(said: str, meant: str) -> None:
    assert valid_traceparent(said) == meant


MALFORMED = [
    None,
    7,
    "",
    "00",
    SAMPLED.upper(),
    f"00-{TRACE}-{SPAN}",
    f"00-{TRACE}-{SPAN}-01-more",
    f"ff-{TRACE}-{SPAN}-01",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"00-{TRACE[1:]}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-0x",
    f"0-{TRACE}-{SPAN}-01",
    f"00-{TRACE[:-1]}\N{ARABIC-INDIC DIGIT ONE}-{SPAN}-01",
    f" {SAMPLED}",
]


@pytest.mark.parametrize("said", MALFORMED)
def test_what_is_malformed_is_ignored(said: object) -> None:
    assert valid_traceparent(said) is None


@pytest.mark.parametrize("said", MALFORMED)
def test_an_event_or_an_order_with_a_malformed_one_is_taken_all_the_same(said: object) -> None:
    event = {
        "source": "x",
        "type": "x.v1",
        "subject": "session/x",
        "time": "2026-01-01T00:00:00Z",
        "data": {},
    }
    envelope = Envelope.model_validate({**event, "traceparent": said})
    assert envelope.traceparent is None
    with pytest.raises(UnknownEvent):
        envelope.event()
    assert DispatchOrder(session_id=SessionId(new_id()), attempt=1, traceparent=said).traceparent is None


def test_what_is_not_traced_says_nothing_of_traces() -> None:
    order = DispatchOrder(session_id=SessionId(new_id()), attempt=1)
    assert DispatchOrder.of_job(attributes=order.dispatch_attributes(), metadata="") == order
    known = {name: value for name, value in order.model_dump(mode="json").items() if name != "traceparent"}
    assert DispatchOrder.model_validate(known) == order, "an order of an older dispatcher is understood"


def test_the_parts_of_one() -> None:
    assert trace_id_of(SAMPLED) == TRACE
    assert is_sampled(SAMPLED)
    assert not is_sampled(f"00-{TRACE}-{SPAN}-00")
    assert not is_sampled(None)
