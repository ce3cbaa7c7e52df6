"""The way to Rollcall over its API, for workers that can't reach its Redis."""
