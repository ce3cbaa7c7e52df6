"""The published numbers, each as a command. Ratios against the bare calls of the same run."""
