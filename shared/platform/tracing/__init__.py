"""One trace for each session, by OpenTelemetry."""
