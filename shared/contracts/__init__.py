"""What crosses a process border: session states, events, names, settings. Pydantic only, no I/O."""
