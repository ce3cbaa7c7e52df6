"""LiveKit's TokenSource protocol: a client gets a token and, with it, a reservation of a session."""
