"""Talk to an agent as a caller: synthetic, by microphone, or as a canary."""
