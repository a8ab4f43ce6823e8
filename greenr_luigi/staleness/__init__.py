"""A Luigi task that knows when it is stale, and why. It knows nothing of this project and can be lifted into another:
docs/staleness.md."""
