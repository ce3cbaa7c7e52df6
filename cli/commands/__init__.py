"""The commands. What a command needs is imported when it runs: help and completion come at once."""
