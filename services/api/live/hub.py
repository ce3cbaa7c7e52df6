"""Follow a session or a project live, as server-sent events.

One hub serves all followers of a process:

1. Redis names a session that has something new (`pubsub.py`). The hub marks the session's feed as stale.
2. Four loops take stale feeds. Each reads one feed from the database (`session_feed.py`), once for all its
   followers, and wakes them.
3. Each follower (`subscriber.py`) gets the events after its `Last-Event-ID`.
4. Redis may lose a message. So once a second a poll compares all followed sessions with the database, in one
   query, and marks those that are behind. Every fifth poll counts their turns too.
5. Once a second the hub checks whether the followers' keys may still read, and ends the streams of those that
   may not.

Who follows a project gets its events from one feed of all projects (`project_feed.py`), by the same hints and
a poll of its own; sessions may be followed in the same stream.

Captions bypass this: they come through Redis, are never stored, and a lost caption is not sent again.
A caller that only needs to know when a session has something new subscribes to its hints (`hints_of`).
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, contextmanager
from itertools import count
from typing import Final

from redis.asyncio import Redis
from sqlalchemy import func, select
from sqlmodel import col
from sse_starlette import ServerSentEvent

from services.api import metrics
from services.api.auth.access import Principal
from services.api.errors.problems import Problem, bare, unknown_session
from services.api.live.event_id import Position
from services.api.live.merge import merged
from services.api.live.places import Places
from services.api.live.project_feed import ProjectFeed, ProjectFollower
from services.api.live.pubsub import PubSub
from services.api.live.session_feed import SessionFeed
from services.api.live.subscriber import Follower, Subscriber
from shared.contracts.events import CaptionChanged, Envelope, UnknownEvent
from shared.core.sessions.tables import SessionRow
from shared.core.transcripts.tables import TranscriptItemRow
from shared.platform.background import Loop
from shared.platform.clock import Clock
from shared.platform.database.database import Database
from shared.platform.database.errors import DATABASE_ERRORS
from shared.platform.logs.logs import get_logger

log = get_logger(__name__)

POLL_INTERVAL_S: Final = 1.0
# Turns and the hints about them both travel through Redis: if one gets through, the other mostly does too.
_COUNT_EVERY: Final = 5
_BATCH: Final = 500
_LOOKS_AT_ONCE: Final = 4
# After a restart, a thousand followers may connect at once.
READS_AT_ONCE: Final = 6


RefusedSince = Callable[[Collection[Principal]], Awaitable[Mapping[Principal, Problem]]]
"""Returns which of the admitted principals would be refused now, and why."""


async def nobody_refused(_: Collection[Principal]) -> Mapping[Principal, Problem]:
    """Implement `RefusedSince` for a deployment without keys."""
    return {}


class Hub:
    """Serves all followers in this process. `reads` is the database, with connections for long reads."""

    def __init__(
        self,
        *,
        reads: Database,
        redis: Redis,
        now: Clock,
        captions: bool,
        max_followers: int,
        max_followers_project: int = 0,
        refused_since: RefusedSince = nobody_refused,
    ) -> None:
        self._reads = reads
        self._now = now
        self._captions = captions
        self._places = Places(max_followers, max_followers_project or max_followers)
        self._refused_since = refused_since
        self._reading = asyncio.Semaphore(READS_AT_ONCE)
        self._project_feed = ProjectFeed(database=reads, reading=self._reading, now=now)
        self._pubsub = PubSub(redis, on_news=self._on_news, on_caption=self._on_caption)
        self._feeds: dict[str, SessionFeed] = {}
        self._subscribers: defaultdict[str, set[Subscriber]] = defaultdict(set)
        self._subscriptions: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._stale: dict[str, None] = {}
        self._some_stale = asyncio.Event()

    @property
    def loops(self) -> dict[str, Loop]:
        """The loops that must run while sessions can be followed."""
        looks = {f"look-{number}": self._look_for_ever for number in range(_LOOKS_AT_ONCE)}
        return {
            "news": self._pubsub.run,
            "poll": self._poll_for_ever,
            "keys": self._ask_again_for_ever,
            "project-news": self._project_feed.look_for_ever,
            "project-poll": self._poll_projects_for_ever,
            **looks,
        }

    async def follow(
        self, session_id: str, *, asking: Principal, after: Position, with_text: bool
    ) -> AsyncIterator[ServerSentEvent] | None:
        """Return the events after a position, until the session is over; None if there will be no more.

        It includes turns and captions only if `with_text`. Raises `Problem`.
        """
        feed = await self._feed(session_id)
        if feed.project != asking.project:
            raise unknown_session(session_id)
        subscriber = Subscriber(feed, after=after, with_text=with_text, asking=asking)
        if feed.over and subscriber.has_all:
            return None
        self._places.reserve([subscriber])
        return _told_why(self._events_of(subscriber), subscriber)

    async def follow_project(
        self, *, asking: Principal, after: str, session_ids: Sequence[str], with_text: bool
    ) -> AsyncIterator[ServerSentEvent]:
        """Return the events of the principal's project after an id, "" for those from now on.

        The streams of these sessions are in it, each from its begin, and without ids. Raises `Problem`.
        """
        subscribers = []
        for session_id in session_ids:
            feed = await self._feed(session_id)
            if feed.project != asking.project:
                raise unknown_session(session_id)
            subscribers.append(Subscriber(feed, after=Position(), with_text=with_text, asking=asking))
        follower = ProjectFollower(asking, after=after)
        self._places.reserve([follower, *subscribers])
        of_sessions = [_without_ids(self._events_of(one)) for one in subscribers]
        return _told_why(merged(self._events_for(follower), of_sessions), follower)

    @contextmanager
    def hints_of(self, session_id: str) -> Iterator[asyncio.Event]:
        """Subscribe to a session: the event is set by each hint that it has something new."""
        hinted = asyncio.Event()
        self._subscriptions[session_id].add(hinted)
        try:
            yield hinted
        finally:
            self._subscriptions[session_id].discard(hinted)
            if not self._subscriptions[session_id]:
                del self._subscriptions[session_id]

    async def _events_of(self, subscriber: Subscriber) -> AsyncGenerator[ServerSentEvent, None]:
        with self._subscribed(subscriber), self._places.taken(subscriber):
            async with aclosing(subscriber.events()) as events:
                async for event in events:
                    if subscriber.ended is not None:
                        return
                    yield event

    async def _events_for(self, follower: ProjectFollower) -> AsyncGenerator[ServerSentEvent, None]:
        feed = self._project_feed
        with self._places.taken(follower):
            async with feed.followed_by(follower), aclosing(follower.events(feed)) as events:
                async for event in events:
                    if follower.ended is not None:
                        return
                    yield event

    @contextmanager
    def _subscribed(self, subscriber: Subscriber) -> Iterator[None]:
        # Meanwhile the feed may have been dropped, or read again for another follower.
        session_id = subscriber.feed.session_id
        subscriber.feed = self._feeds.setdefault(session_id, subscriber.feed)
        self._subscribers[session_id].add(subscriber)
        self._want_captions(session_id)
        try:
            yield
        finally:
            self._subscribers[session_id].discard(subscriber)
            if not self._subscribers[session_id]:
                del self._subscribers[session_id]
            self._want_captions(session_id)

    def _want_captions(self, session_id: str) -> None:
        readers = [one for one in self._subscribers.get(session_id, ()) if one.with_text]
        self._pubsub.want(session_id, wanted=self._captions and bool(readers))

    async def _feed(self, session_id: str) -> SessionFeed:
        feed = self._feeds.get(session_id)
        if feed is not None and session_id in self._subscribers:
            return feed  # it is already up to date
        if feed is None:
            # Register the feed before reading it, so that a hint in the meantime causes another read.
            feed = self._feeds[session_id] = SessionFeed(
                session_id, database=self._reads, reading=self._reading, now=self._now
            )
        try:
            await feed.read_news()
        except BaseException:
            if session_id not in self._subscribers:
                self._feeds.pop(session_id, None)
            raise
        return feed

    def _on_news(self, session_id: str) -> None:
        for hinted in self._subscriptions.get(session_id, ()):
            hinted.set()
        if session_id in self._feeds:
            self._look_at(session_id)
        self._project_feed.hint(session_id)

    def _on_caption(self, session_id: str, text: str) -> None:
        feed = self._feeds.get(session_id)
        if feed is None or feed.erased:
            return
        try:
            envelope = Envelope.parse(text)
            caption = envelope.event()
        except (ValueError, UnknownEvent):
            return  # from a later version, or not ours
        if not isinstance(caption, CaptionChanged) or caption.session_id != session_id:
            return
        for subscriber in self._subscribers.get(session_id, ()):
            if subscriber.with_text:
                subscriber.caption(envelope, caption)

    def _end(self, session_id: str, why: Problem) -> None:
        """End the streams of a session that no longer exists."""
        self._feeds.pop(session_id, None)
        for subscriber in self._subscribers.get(session_id, ()):
            self._end_one(subscriber, why)

    def _end_one(self, follower: Follower, why: Problem) -> None:
        if follower.ended is None:
            metrics.follower_ended()
            session_id = follower.feed.session_id if isinstance(follower, Subscriber) else None
            log.info("follower_ended", session_id=session_id, code=why.code)
            follower.end(why)

    async def _ask_again_for_ever(self) -> None:
        """End the streams whose key has been revoked or has expired."""
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            following: list[Follower] = [one for those in self._subscribers.values() for one in those]
            following += self._project_feed.followers
            try:
                refused = await self._refused_since({one.asking for one in following})
            except DATABASE_ERRORS as error:
                log.warning("keys_not_asked_again", error=repr(error))
                continue
            for one in following:
                if one.asking in refused:
                    self._end_one(one, refused[one.asking])

    def _look_at(self, session_id: str) -> None:
        self._stale[session_id] = None
        self._some_stale.set()

    async def _look_for_ever(self) -> None:
        while True:
            await self._some_stale.wait()
            session_id = next(iter(self._stale), None)
            if session_id is None:
                self._some_stale.clear()
                continue
            del self._stale[session_id]
            if (feed := self._feeds.get(session_id)) is None:
                continue
            try:
                await feed.read_news()
            except Problem as gone:
                self._end(session_id, gone)
                continue
            except DATABASE_ERRORS as error:
                log.warning("session_not_looked_at", session_id=session_id, error=repr(error))
                continue  # the next poll will find it behind again
            for subscriber in self._subscribers.get(session_id, ()):
                subscriber.wake.set()

    async def _poll_for_ever(self) -> None:
        unfollowed: set[str] = set()
        for turn in count():
            await asyncio.sleep(POLL_INTERVAL_S)
            # Not at the first time, since a follower may be about to connect.
            unfollowed, before = self._feeds.keys() - self._subscribers.keys(), unfollowed
            for session_id in unfollowed & before:
                del self._feeds[session_id]
            try:
                followed = list(self._feeds)
                for start in range(0, len(followed), _BATCH):
                    await self._poll(followed[start : start + _BATCH], turns_too=turn % _COUNT_EVERY == 0)
            except DATABASE_ERRORS as error:
                log.warning("followed_sessions_not_polled", error=repr(error))

    async def _poll_projects_for_ever(self) -> None:
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            await self._project_feed.read_news()

    async def _poll(self, session_ids: Sequence[str], *, turns_too: bool) -> None:
        row, item = SessionRow, TranscriptItemRow
        states = select(
            col(row.id), col(row.status), col(row.last_sequence), col(row.transcript_erased_at)
        ).where(col(row.id).in_(session_ids))
        counts = (
            select(col(item.session_id), func.count().label("number"))
            .where(col(item.session_id).in_(session_ids))
            .group_by(col(item.session_id))
        )
        async with self._reads.read() as db:
            found = (await db.execute(states)).all()
            turns = {row.session_id: row.number for row in await db.execute(counts)} if turns_too else None
        for session_id in set(session_ids) - {row.id for row in found}:
            self._end(session_id, unknown_session(session_id))
        for session_id, status, sequence, erased_at in found:
            feed = self._feeds.get(session_id)
            if feed is None:
                continue
            same = (status, sequence, erased_at is not None) == (feed.status, feed.sequence, feed.erased)
            fewer_or_more = turns is not None and turns.get(session_id, 0) != feed.turns
            if not same or fewer_or_more or feed.ending:
                self._look_at(session_id)


async def _told_why(
    events: AsyncGenerator[ServerSentEvent, None], follower: Follower
) -> AsyncGenerator[ServerSentEvent, None]:
    """Yield the events, and at the end why the follower was ended, if it was."""
    try:
        async with aclosing(events):
            async for event in events:
                yield event
        if follower.ended is not None:
            yield ServerSentEvent(data=json.dumps(bare(follower.ended)), event="problem")
    except DATABASE_ERRORS as error:
        # Its client reconnects, and says how far it was.
        session_id = follower.feed.session_id if isinstance(follower, Subscriber) else None
        log.warning("follower_let_go", session_id=session_id, error=repr(error))


async def _without_ids(
    events: AsyncGenerator[ServerSentEvent, None],
) -> AsyncGenerator[ServerSentEvent, None]:
    """A client that comes back to the stream of a project gets a session's events from their begin."""
    async with aclosing(events):
        async for event in events:
            event.id = None
            yield event
