"""docs/events.md and asyncapi.yaml, made from the models of the events."""
