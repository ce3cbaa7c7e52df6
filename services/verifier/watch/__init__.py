"""Watch an active session: notice a lost agent, and replace it."""
