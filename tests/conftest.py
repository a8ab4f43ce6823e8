"""What all tests share."""

from hypothesis import settings

# A busy machine is no failure of a property.
settings.register_profile("greenr", deadline=None)
settings.load_profile("greenr")
