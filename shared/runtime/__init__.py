"""Old addresses of commands, for deployments that still call them. Nothing imports this package."""
