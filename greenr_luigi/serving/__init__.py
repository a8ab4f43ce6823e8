"""Releases on disk, and the gunicorn that serves them."""
