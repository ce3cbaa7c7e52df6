"""One job, in a process of its own: what it reports, what it publishes, and how it ends."""
