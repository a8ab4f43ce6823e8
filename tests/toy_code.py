"""Code that the toy stage Count declares as its own; tests edit a copy of it."""

FACTOR = 1
