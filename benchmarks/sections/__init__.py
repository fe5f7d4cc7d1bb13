"""The sections of the table, each a function from a `Bench` to its figures."""
