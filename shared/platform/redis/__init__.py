"""Redis clients whose calls end, streams, and hints."""
