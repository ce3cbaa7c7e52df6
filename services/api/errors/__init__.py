"""Every error that the API answers with: the catalogue, the problem details, and a page for each."""
