"""For steps that nobody watches."""


def quiet(fraction: float, words: str) -> None:
    """The OnProgress that does nothing."""
