"""Real servers and whole stacks for the tests; each ends only what it started."""
