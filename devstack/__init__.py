"""A whole stack on this machine: servers and services for `rollcall up`, the tests and the benchmarks."""
