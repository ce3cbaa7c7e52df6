"""How a project's sessions fared: their outcomes, how long their agents took, and why some got none."""
