"""Receipts of LiveKit's webhooks, so that each webhook takes effect once."""
