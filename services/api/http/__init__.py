"""HTTP as every route needs it: middleware, the server, headers and parameters."""
