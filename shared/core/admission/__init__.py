"""Who may be dispatched now: the wait queue, worker slots and reservations."""
