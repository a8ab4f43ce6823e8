"""Where pictures come from, and how those of a class are collected."""
