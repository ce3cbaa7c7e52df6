"""The HTTP API: starts sessions, hands out tokens, and shows what happened.

In: requests from apps, and LiveKit's webhooks. Out: sessions with their first event in the database, tokens
for joining, and all data about a session. A request never waits for Redis or LiveKit, unless it asks about
them.
"""
