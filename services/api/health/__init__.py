"""Health: what works, and whether the next session would get its agent."""
