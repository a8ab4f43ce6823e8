"""`greenr review`: a local page on which a person goes through doubtful pictures."""
