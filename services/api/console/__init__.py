"""The console: its built files, and the browsers that are let in by a cookie."""
