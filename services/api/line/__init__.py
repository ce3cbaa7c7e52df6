"""The line: sessions that wait for an agent, by agent name and pool."""
