"""API keys over HTTP and, for the first of them, on the command line."""
