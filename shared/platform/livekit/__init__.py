"""The API of a LiveKit server, with every failure classed."""
