"""The published numbers, each as a command. Each is a ratio to the bare calls of the same run."""
