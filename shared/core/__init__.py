"""What the services must agree on: sessions, admission, workers, transcripts and webhooks."""
