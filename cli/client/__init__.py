"""The client of Rollcall's API, and the choice of the API and key for a command."""
