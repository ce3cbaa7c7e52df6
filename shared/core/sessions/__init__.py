"""A session's row: the transitions, the outbox, the limits, and what is counted and traced."""
