"""Pools of an agent name's workers, and how sessions are shared between them."""
