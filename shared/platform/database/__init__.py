"""SQLite or PostgreSQL behind one asynchronous engine, and what its errors mean."""
