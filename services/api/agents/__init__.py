"""What is decided for all workers of an agent name: how many slots are wanted."""
