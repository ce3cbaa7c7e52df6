"""Webhooks out: every session event, to the endpoints that want it, at least once.

In: session events and endpoints from the database; hints that there is news. Out: signed HTTP requests
to the endpoints, and in the database what became of each.
"""
