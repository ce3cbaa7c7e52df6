"""What LiveKit told us: the webhooks that were received, so that each takes effect once."""
