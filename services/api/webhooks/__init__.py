"""Webhook endpoints over HTTP: register, change, test, and replay deliveries. `services.webhooks` sends."""
