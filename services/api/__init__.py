"""The HTTP API.

In: requests for sessions, from apps; LiveKit's webhooks. Out: sessions with their first event in the
database, tokens to join with, and everything there is to read about a session. A request never waits
for Redis or LiveKit, except where it asks about them.
"""
