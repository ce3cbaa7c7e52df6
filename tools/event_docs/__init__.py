"""Make docs/events.md and asyncapi.yaml from the models of the events."""
