"""What `greenr` does with the graph as it lies on disk. Outputs are asked for by the role of their stage, never by its
name. Which stages there are is said by the STAGES of a module: `tasks`, or that of a package on top of it."""
