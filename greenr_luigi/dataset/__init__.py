"""From collected pictures to a data set: what a person decided, cleaning, duplicates, and the split."""
