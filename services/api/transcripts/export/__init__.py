"""Write one conversation in a format for people or for programs."""
