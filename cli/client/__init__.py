"""The client of Rollcall's API, and which API and key a command talks to."""
