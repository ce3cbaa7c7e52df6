"""Read one conversation: its turns, whether they are all there, and how long each side waited."""
