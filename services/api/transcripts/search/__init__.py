"""Search the turns of a project: the query language, the query, and the parts of a text that match."""
