"""`rollcall doctor`: check everything that a session needs, and say how to fix what is missing.

In: the environment of a deployment. Out: findings. It changes nothing.
"""
