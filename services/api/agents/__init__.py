"""An agent name: its profile, how many slots are wanted, and which pool gets which share of sessions."""
