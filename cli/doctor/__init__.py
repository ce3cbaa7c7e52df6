"""`rollcall doctor`: is everything there that a session needs, and if not, what to do.

In: the environment of a deployment. Out: findings. It asks, and changes nothing.
"""
