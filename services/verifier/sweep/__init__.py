"""Find what a crash, a lost message or a due time has left behind."""
