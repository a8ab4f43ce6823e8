"""The commands of `greenr`: each calls one function of `operations`, and prints what it returns."""
