"""What works, and whether the next session would get its agent."""
