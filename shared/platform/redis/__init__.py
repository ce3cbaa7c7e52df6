"""Redis clients with a time limit for every call, streams, and hints."""
