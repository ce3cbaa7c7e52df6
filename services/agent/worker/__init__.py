"""The worker: it takes jobs, tells the registry that it lives, and stops in order."""
