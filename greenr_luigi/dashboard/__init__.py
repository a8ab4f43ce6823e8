"""The dashboard: Luigi's scheduler with its page, and the page of runs."""
