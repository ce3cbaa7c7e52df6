"""The audit trail: who did what over the API."""
