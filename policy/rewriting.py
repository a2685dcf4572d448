"""Another path or host for the service than the one that was asked for, and redirects to another place.

Authorization, signatures and limits judge the path that the client asked for; what is written here applies afterwards.
So no rewrite may lead out of the place that it names: a regular expression takes whole segments of a path, which Envoy
has normalised, and puts whole segments into the new one. No `..` can come together out of pieces.
"""

import re
from enum import IntEnum
from typing import Annotated, Final, Self

import re2
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from policy.kinds import Model, Path, Port

# A name or an address, with or without a port: what may stand in Host (RFC 9110 §7.2).
Host = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?$")]
# In lower case alone, unlike `kinds.HostName`: clients and caches compare it with what they know, as it is written;
# that one is compared by nobody but TLS and DNS, which know no case, and is also read from certificates.
_HostName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]

# An expression is tried with each request. Envoy draws the line here too where its runtime key asks for one
# (re2.max_program_size.error_level).
_PROGRAM: Final = 100
_PIECES: Final = re.compile(r"\\.|\[\^?(?:\\.|[^\[\]\\])+\]|\(\?:|\(\?|.", re.DOTALL)
# One segment of a path, which is never empty: `[^/]+`, `\d+`, `[a-z0-9-]+`, `orders|leads`.
_ONE_SEGMENT: Final = re.compile(
    r"(?:\\[dw]|\[\^/(?:\\.|[^\[\]\\])*\]|\[[A-Za-z0-9_.~-]+\])(?:\+|\{[1-9][0-9]*\})|[A-Za-z0-9_~-]+(?:\|[A-Za-z0-9_~-]+)*"
)
_QUANTIFIERS: Final = frozenset("?*+{")
_ESCAPES: Final = frozenset((r"\.", r"\d", r"\w", r"\-", r"\~"))


def _whole_segments(pattern: str) -> str:
    if not (pattern.startswith("^/") and pattern.endswith("$")):
        raise ValueError("a regex describes the whole path: it starts with ^/ and ends with $")
    _check_groups([str(one) for one in _PIECES.findall(pattern[1:])])
    options = re2.Options()
    options.log_errors = False
    try:
        size = re2.compile(pattern, options).programsize
    except re2.error as error:
        raise ValueError(f"not a regular expression of RE2: {error}") from error
    if size > _PROGRAM:
        raise ValueError(f"a regex may take {_PROGRAM} steps of RE2, and this takes {size}")
    return pattern


def _check_groups(pieces: list[str]) -> None:
    depth = 0
    capturing = False
    for before, piece, after in zip(["", *pieces], pieces, [*pieces[1:], ""], strict=False):
        _check_piece(before, piece, after)
        if piece in {"(", "(?:"}:
            if piece == "(" and (depth or before != "/"):
                raise ValueError("what is taken out, ( ), begins after a / and stands in no other group")
            depth, capturing = depth + 1, capturing or piece == "("
        elif piece == ")":
            depth -= 1
            if capturing and depth == 0:
                capturing = False
                if after not in {"/", "$"}:
                    raise ValueError("what is taken out, ( ), ends before a / or at the end")
        elif piece == "|" and depth == 0:
            raise ValueError("alternatives stand in a group")
    if depth:
        raise ValueError("every group that is opened is closed")


def _check_piece(before: str, piece: str, after: str) -> None:
    if piece.startswith("\\") and piece not in _ESCAPES:
        raise ValueError(rf"{piece} is not among the escapes that a regex may use here: \. \- \~ \d \w")
    if piece in {"(?", "["}:
        raise ValueError("groups are ( ) and (?: ) without names and flags, and a [ ] holds no other [ ]")
    if piece == "/" and before == ")" and after in _QUANTIFIERS:
        raise ValueError("the / after what is taken out is always there")
    if piece == "$" and after:
        raise ValueError("$ stands at the end")


def _taken_out(pattern: str) -> list[str]:
    """What stands in each ( ), in their order."""
    groups: list[str] = []
    depth, begun = 0, -1
    for piece in (str(one) for one in _PIECES.findall(pattern)):
        if piece == ")":
            depth -= 1
            begun = -1 if depth == 0 else begun
        if begun >= 0:
            groups[begun] += piece
        if piece in {"(", "(?:"}:
            depth += 1
            if piece == "(":
                groups.append("")
                begun = len(groups) - 1
    return groups


def _whole_references(substitution: str) -> str:
    if not re.fullmatch(r"(/([A-Za-z0-9_.~-]+|\\[1-9]))+", substitution):
        raise ValueError(r"a substitution is a path whose segments are words or \1 to \9")
    if any(segment in {".", ".."} for segment in substitution.split("/")):
        raise ValueError("a path has no . or .. segments")
    return substitution


Regex = Annotated[str, Field(min_length=3, max_length=500), AfterValidator(_whole_segments)]
Substitution = Annotated[str, Field(min_length=2, max_length=500), AfterValidator(_whole_references)]


class Rewrite(Model):
    """The path and the host that the service sees; authorization has seen the others."""

    prefix: Path | None = Field(None, description="Instead of the route's own path, before what follows it.")
    path: Path | None = Field(None, description="Instead of the whole path.")
    regex: Regex | None = Field(None, description="RE2, over the whole path; where it does not match, nothing changes.")
    substitution: Substitution | None = Field(None, description=r"With regex: the new path, \1 its first ( ).")
    host: Host | None = Field(None, description="The Host header that the service sees.")

    @model_validator(mode="after")
    def _one_path(self) -> Self:
        if (self.regex is None) != (self.substitution is None):
            raise ValueError("regex and substitution go together")
        paths = [one for one in (self.prefix, self.path, self.regex) if one is not None]
        if len(paths) > 1:
            raise ValueError("one of prefix, path, and regex with substitution")
        if not paths and self.host is None:
            raise ValueError("prefix, path, regex with substitution, or host")
        if self.regex is not None and self.substitution is not None:
            groups = _taken_out(self.regex)
            references = [int(number) for number in re.findall(r"\\([1-9])", self.substitution)]
            if any(number > len(groups) for number in references):
                raise ValueError(f"substitution refers to more than the {len(groups)} ( ) of regex")
            inner = references[:-1] if re.search(r"\\[1-9]$", self.substitution) else references
            for number in inner:
                if not _ONE_SEGMENT.fullmatch(groups[number - 1]):
                    # What may be empty, or end in a slash, would leave an empty segment in the middle.
                    raise ValueError(rf"\{number} stands before the end, so its ( ) takes one segment, such as ([^/]+)")
        return self


class RedirectStatus(IntEnum):
    """RFC 9110 §15.4: 301 and 308 for good, 302, 303 and 307 for now; 307 and 308 keep the method."""

    MOVED = 301
    FOUND = 302
    SEE_OTHER = 303
    TEMPORARY = 307
    PERMANENT = 308


class Redirect(Model):
    """Where the client is sent: always a place that is written here, or another path of the one that it asked."""

    host: _HostName | None = Field(None, description="Unset: the one that was asked.")
    path: Path | None = Field(None, description="Instead of the whole path.")
    prefix: Path | None = Field(None, description="Instead of the route's own path, before what follows it.")
    https: bool = False
    port: Port | None = None
    status: RedirectStatus = RedirectStatus.PERMANENT
    strip_query: bool = False

    @model_validator(mode="after")
    def _somewhere_else(self) -> Self:
        if self.path is not None and self.prefix is not None:
            raise ValueError("path or prefix, not both")
        if not (self.host or self.path or self.prefix or self.https or self.port):
            raise ValueError("host, path, prefix, https or port")
        return self
