"""`--hypothesis-profile=thorough` draws twenty-five times as much."""

from hypothesis import settings

settings.register_profile("thorough", max_examples=2_500)
