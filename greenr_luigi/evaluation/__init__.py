"""How good a model is, how sure, which labels look wrong, and a report that says so."""
