"""Agent workers as the other processes see them: the registry, beats, fences and the hand-over."""
