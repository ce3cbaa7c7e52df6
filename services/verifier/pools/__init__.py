"""Pools: which one replaces a lost agent, and which pool's share of the sessions is taken back."""
