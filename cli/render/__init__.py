"""Show answers on a terminal."""
