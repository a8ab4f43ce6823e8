"""Of the door that every picture passes."""

#: The side to ask for by whoever wants the whole picture.
WHOLE = 1 << 14
