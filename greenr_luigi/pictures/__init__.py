"""What a usable picture is, how it looks to a perceptual hash, and the rows that describe it."""
