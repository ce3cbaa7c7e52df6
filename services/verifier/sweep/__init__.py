"""Find sessions that a crash or a lost message left behind, or that are due."""
