"""The pages of the error catalogue, from docs/errors or from where the installed package has them."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from portal.developer.errors import ErrorPage, read_error_page

_REPOSITORY: Final = Path(__file__).resolve().parents[2] / "docs" / "errors"
_INDEX: Final = "README.md"


def folder() -> Path:
    """Where the pages are."""
    return _REPOSITORY if _REPOSITORY.is_dir() else Path(str(files("apibank").joinpath("_assets", "errors")))


@cache
def catalogue() -> Mapping[str, ErrorPage]:
    """Every page that is for clients, by its code. Raises OSError or ValueError where one cannot be read."""
    texts = {
        path.stem: path.read_text(encoding="utf-8") for path in sorted(folder().glob("*.md")) if path.name != _INDEX
    }
    found = {code: read_error_page(text) for code, text in texts.items()}
    return {code: one for code, one in found.items() if one is not None}
