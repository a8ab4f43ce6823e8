"""What `greenr` does with the graph as it lies on disk: status, usage, prune."""
