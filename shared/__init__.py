"""What services share: `contracts` cross process borders, `core` is agreed on, `platform` runs a process."""
