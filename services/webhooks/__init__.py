"""Webhooks out: every session event, to the endpoints that want it, at least once.

In: session events and endpoints from the database, and hints about new events. Out: signed HTTP requests to
the endpoints, and the outcome of each in the database.
"""
