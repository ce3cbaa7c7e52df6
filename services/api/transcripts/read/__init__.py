"""Read one conversation: its turns, whether it is complete, and how long each side waited."""
