"""What `greenr` does with the graph as it lies on disk. Outputs are asked for by the role of their stage, never by its
name; which stages there are, a module says in its STAGES: `tasks`, or that of a package on top of it."""
