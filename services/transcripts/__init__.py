"""The transcript consumer: stores finished turns.

In: the turns stream, as one consumer of a group. Out: transcript items in the database, each once; a
hint for whoever follows a session; the watermark that says which turns are stored; and what can't be
stored in the dead letters.
"""
