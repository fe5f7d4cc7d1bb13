"""The calls, one file for each kind of thing."""
