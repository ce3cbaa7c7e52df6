"""The transcript consumer: stores finished turns.

In: the turns stream, as one consumer of a group. Out: transcript items in the database, each stored once;
hints for the followers of a session; the watermark that says which turns are stored; and dead letters for
entries that can't be stored.
"""
