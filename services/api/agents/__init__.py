"""All workers of an agent name: how many slots are wanted, and which pool gets which share of sessions."""
