"""Receive the reports of agent workers, and wake the task that waits for the session."""
