"""docs/events.md and asyncapi.yaml, made from the models of the events: `python -m tools.event_docs`."""
