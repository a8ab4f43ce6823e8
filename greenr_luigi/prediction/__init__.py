"""`greenr predict`: many pictures, each answered as the page would."""
