"""What the tests of whole stacks share."""
