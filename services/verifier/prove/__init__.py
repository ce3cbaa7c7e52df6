"""Prove that the agent of a dispatched session joined, or find out why it did not."""
