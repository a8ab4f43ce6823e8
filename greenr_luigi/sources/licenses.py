"""What licences allow: of those that a person may ask for, and of those that pictures come with."""

from __future__ import annotations

#: The licences that a person may ask for, by what they allow to do with a picture.
RIGHTS = {
    "noncommercial": {"use"},
    "commercial": {"use", "sell"},
    "noncommercial,modify": {"use", "change"},
    "commercial,modify": {"use", "sell", "change"},
    "publicdomain": {"use", "sell", "change", "own"},
}
#: How names of licences begin that leave a picture to all.
PUBLIC = ("CC0", "Public", "PD", "No known copyright", "United States government", "No restrictions")


def allows(license: str | None, wanted: str) -> bool:
    """Whether a licence of RIGHTS, or one of a picture, such as "CC BY-NC 2.0", allows all that `wanted` does. What is
    not known allows nothing."""
    license = license or ""
    if license.startswith(PUBLIC):
        rights = RIGHTS["publicdomain"]
    elif license.startswith("CC BY"):
        forbidden = {right for code, right in (("NC", "sell"), ("ND", "change")) if code in license}
        rights = RIGHTS["commercial,modify"] - forbidden
    else:
        rights = RIGHTS.get(license, set())
    return RIGHTS[wanted] <= rights
