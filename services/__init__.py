"""The processes of Rollcall. A service never imports another; what they share is in `shared`."""
