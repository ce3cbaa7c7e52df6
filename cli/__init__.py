"""The `rollcall` command line."""
