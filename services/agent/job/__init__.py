"""One job: it joins a room, holds a conversation, and publishes what was said."""
