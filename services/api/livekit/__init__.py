"""LiveKit's webhooks: verify them, and record which participants join and leave."""
