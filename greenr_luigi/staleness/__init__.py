"""A Luigi task that knows when it is stale, and why. Nothing here knows the project around it: the folder can be copied
into another one (docs/staleness.md)."""
