"""Write documents from the code: `python -m tools`, or `make docs`."""
