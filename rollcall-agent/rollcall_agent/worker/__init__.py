"""The worker: takes jobs, sends heartbeats to the registry, and obeys operators."""
