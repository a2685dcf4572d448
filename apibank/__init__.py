"""The composition root: the only package that reads settings, builds things and joins them together."""

from typing import Final

__version__: Final = "0.1.0"
