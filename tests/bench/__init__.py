"""The benchmark: how fast the paths are, what they cost in calls, and what they grow with. `make bench` runs it."""
