"""LiveKit's own webhooks: check them, and note who came to a room and who left."""
