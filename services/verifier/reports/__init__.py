"""Take what agent workers report, and wake whoever waits for the session."""
