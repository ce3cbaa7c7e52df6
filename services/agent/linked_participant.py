"""Choose the participant with whom the agent talks, as people join and leave.

The SDK links the first participant that it sees and never changes it. That may be a silent observer who was
there before the caller. When that participant leaves, the SDK closes the session, even if others are there.
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

# The SDK takes a list of kinds, which must include kinds that LiveKit adds later.
KINDS: Final = [cast(rtc.ParticipantKind.ValueType, n) for n in range(64) if stands_for_person(n)]
# reasons of participants who left on purpose
_GOODBYES: Final = frozenset(DEFAULT_CLOSE_ON_DISCONNECT_REASONS)

log = get_logger(__name__)


@dataclass(frozen=True)
class Person:
    """A person in the room. `by_token`: joined with a token, not over a gateway as a telephone does.

    `speaks` means that they have a microphone, open or muted, or have written to the agent.
    """

    identity: str
    by_token: bool = True
    speaks: bool = True


@dataclass(frozen=True)
class Wanted:
    """Who the session is for. `caller` is the identity in its token, if known.

    If `only`, no other participant with a token counts as the caller until the caller `came`. A gateway gives
    participants identities of its own, so one who joins over a gateway may always be the caller.
    """

    caller: str | None = None
    only: bool = False
    came: bool = False

    @classmethod
    def by(cls, order: DispatchOrder | None) -> "Wanted":
        """Return who this order is for. If the agent takes over, the caller has already come."""
        if order is None:
            return cls()
        return cls(order.caller_identity, order.caller_only, order.takes_over)


def choose(people: Iterable[Person], wanted: Wanted, *, now_with: str | None = None) -> str | None:
    """Return the identity of the partner; None if there is no participant whom the agent may serve.

    The caller comes first, then people who speak, then anyone else, in the order of `people`. The agent
    changes its partner only for a better one.
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
    """The participant with whom one session's agent talks, from `follow` on.

    It calls `on_last_left` when the partner has said goodbye and nobody else is there whom the agent may
    serve.
    """

    def __init__(
        self, room: rtc.Room, order: DispatchOrder | None, *, on_last_left: Callable[[], None]
    ) -> None:
        self._room = room
        self._wanted = Wanted.by(order)
        self._on_last_left = on_last_left
        self._session: AgentSession[None] | None = None
        self._writers: set[str] = set()
        self._partners: list[tuple[float, str]] = []  # since when, and the identity

    @property
    def expected(self) -> str:
        """The identity that the SDK may link by itself; empty for none."""
        return self._wanted.caller or ""

    def follow(self, session: AgentSession[None]) -> None:
        """Link the session to the partner, now and whenever the partner changes."""
        self._session = session
        self._room.on("participant_connected", self._on_change)
        self._room.on("track_published", self._on_change)
        self._room.on("participant_disconnected", self._on_left)
        self._link()

    def writes(self, identity: str) -> bool:
        """Note that a participant has written to the agent; return whether they are its partner."""
        self._writers.add(identity)
        self._link()
        return identity == self._now_with

    def at(self, moment: float) -> str | None:
        """Return the agent's partner at this time (Unix seconds), who is the speaker of that time."""
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
        # Even if it is the same: the SDK unlinks a participant who was gone for a moment.
        linked = self._session.room_io.linked_participant
        if linked is None or linked.identity != chosen:
            self._session.room_io.set_participant(chosen)
        return chosen

    def _people(self) -> Iterable[Person]:
        for participant in self._room.remote_participants.values():
            # LiveKit does not tell the SDK who is a recorder, so a participant who publishes nothing is
            # chosen last.
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
