"""How much a caller may ask for: requests a minute, sessions at the same time, and reads at once."""
