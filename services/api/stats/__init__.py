"""Statistics of a project's sessions: outcomes, times to each level, and causes of missing agents."""
