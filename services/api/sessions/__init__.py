"""Sessions over HTTP: start one, read it, list them, end it."""
