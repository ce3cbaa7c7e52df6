"""What services share: `contracts` crosses process borders, `runtime` is what a process runs on."""
