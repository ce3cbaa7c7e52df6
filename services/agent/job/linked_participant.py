"""Choose whom in the room the agent talks with, and follow them as people come and go.

The SDK takes the first participant that it sees, for good: a silent observer who is there before the caller,
and it closes as that one leaves, whoever else is there.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, cast

from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.voice.room_io.types import DEFAULT_CLOSE_ON_DISCONNECT_REASONS

from shared.contracts.dispatching import DispatchOrder
from shared.contracts.keys import LIVEKIT_PUBLISH_ON_BEHALF_ATTRIBUTE
from shared.contracts.participants import stands_for_person
from shared.platform.logs.logs import get_logger

# For the SDK, which knows a list of kinds; it must have those that LiveKit adds later too.
KINDS: Final = [cast(rtc.ParticipantKind.ValueType, n) for n in range(64) if stands_for_person(n)]
_GOODBYES: Final = frozenset(DEFAULT_CLOSE_ON_DISCONNECT_REASONS)  # those who mean to leave

log = get_logger(__name__)


@dataclass(frozen=True)
class Person:
    """Somebody in the room. `by_token`: joined as any client does, and not over a gateway as a telephone.

    `speaks`: has a microphone, open or muted, or has written to the agent.
    """

    identity: str
    by_token: bool = True
    speaks: bool = True


@dataclass(frozen=True)
class Wanted:
    """Whom the session is for. `caller`: the identity of its token, if it is known.

    `only`: nobody else with a token is the caller, until the caller `came`. Over a gateway somebody joins
    under an identity of its own, so that may be the caller at any time.
    """

    caller: str | None = None
    only: bool = False
    came: bool = False

    @classmethod
    def by(cls, order: DispatchOrder | None) -> "Wanted":
        """Whom this order is for; an agent that takes over comes after the caller."""
        if order is None:
            return cls()
        return cls(order.caller_identity, order.caller_only, order.takes_over)


def choose(people: Iterable[Person], wanted: Wanted, *, now_with: str | None = None) -> str | None:
    """Return the identity of the partner; None if there is nobody whom the agent may serve.

    The caller is first; then those who speak; then whoever is there, in the order of `people`. Nobody is
    left for one who is no better.
    """
    may_be = [p for p in people if p.identity == wanted.caller or not (p.by_token and _must_wait(wanted))]
    best = min(
        may_be,
        key=lambda p: (p.identity != wanted.caller, not p.speaks, p.identity != now_with),
        default=None,
    )
    return best.identity if best else None


def _must_wait(wanted: Wanted) -> bool:
    return wanted.only and not wanted.came


class LinkedParticipant:
    """Whom the agent of one session talks with, from `follow` on.

    on_last_left: is called when the partner has said goodbye and nobody is there whom the agent may serve.
    """

    def __init__(
        self, room: rtc.Room, order: DispatchOrder | None, *, on_last_left: Callable[[], None]
    ) -> None:
        self._room = room
        self._wanted = Wanted.by(order)
        self._on_last_left = on_last_left
        self._session: AgentSession[None] | None = None
        self._writers: set[str] = set()
        self._partners: list[tuple[float, str]] = []  # since when, and who

    @property
    def expected(self) -> str:
        """Whom the SDK may take by itself; empty for nobody."""
        return self._wanted.caller or ""

    def follow(self, session: AgentSession[None]) -> None:
        """Link the session to the partner, now and whenever that changes."""
        self._session = session
        self._room.on("participant_connected", self._on_change)
        self._room.on("track_published", self._on_change)
        self._room.on("participant_disconnected", self._on_left)
        self._link()

    def writes(self, identity: str) -> bool:
        """Somebody in the room has written to the agent; returns whether that is its partner."""
        self._writers.add(identity)
        self._link()
        return identity == self._now_with

    def at(self, moment: float) -> str | None:
        """With whom the agent talked at this time (Unix seconds): the speaker of what was said then."""
        before = [identity for since, identity in self._partners if since <= moment]
        return before[-1] if before else next((identity for _, identity in self._partners), None)

    @property
    def _now_with(self) -> str | None:
        return self._partners[-1][1] if self._partners else None

    def _on_change(self, *_: object) -> None:
        self._link()

    def _on_left(self, participant: rtc.RemoteParticipant) -> None:
        was_partner = participant.identity == self._now_with
        if self._link() is None and was_partner and participant.disconnect_reason in _GOODBYES:
            self._on_last_left()

    def _link(self) -> str | None:
        if any(identity == self._wanted.caller for identity in self._room.remote_participants):
            self._wanted = Wanted(self._wanted.caller, self._wanted.only, came=True)
        chosen = choose(self._people(), self._wanted, now_with=self._now_with)
        if chosen is None or self._session is None:
            return chosen
        if chosen != self._now_with:
            self._partners.append((time.time(), chosen))
            log.info("partner_linked", participant_identity=chosen, is_caller=chosen == self._wanted.caller)
        # Also if it is the same: the SDK has let go of one who was gone for a moment.
        linked = self._session.room_io.linked_participant
        if linked is None or linked.identity != chosen:
            self._session.room_io.set_participant(chosen)
        return chosen

    def _people(self) -> Iterable[Person]:
        for participant in self._room.remote_participants.values():
            # The SDK isn't told who is a recorder; one that publishes nothing is the last to be chosen.
            if not stands_for_person(participant.kind, hidden=participant.permissions.hidden):
                continue
            if LIVEKIT_PUBLISH_ON_BEHALF_ATTRIBUTE in participant.attributes:
                continue
            tracks = participant.track_publications.values()
            yield Person(
                participant.identity,
                by_token=participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD,
                speaks=participant.identity in self._writers
                or any(track.kind == rtc.TrackKind.KIND_AUDIO for track in tracks),
            )
