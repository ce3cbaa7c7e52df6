"""Let waiting sessions and reservations go on."""
