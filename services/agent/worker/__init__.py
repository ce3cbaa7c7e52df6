"""The worker: takes jobs, sends heartbeats to the registry, and stops in order."""
