"""Paths as services and redirected clients see them."""

from typing import Final

from envoy_data_plane.envoy.config.route.v3 import RedirectAction, RedirectActionRedirectResponseCode
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatchAndSubstitute, RegexMatcher

from policy.rewriting import Redirect, RedirectStatus, Rewrite
from xds.compiler.units import RouteUnit

_HTTPS: Final = 443
_CODES: Final = {
    RedirectStatus.MOVED: RedirectActionRedirectResponseCode.MOVED_PERMANENTLY,
    RedirectStatus.FOUND: RedirectActionRedirectResponseCode.FOUND,
    RedirectStatus.SEE_OTHER: RedirectActionRedirectResponseCode.SEE_OTHER,
    RedirectStatus.TEMPORARY: RedirectActionRedirectResponseCode.TEMPORARY_REDIRECT,
    RedirectStatus.PERMANENT: RedirectActionRedirectResponseCode.PERMANENT_REDIRECT,
}

# What Envoy puts in place of the prefix that has matched, or else of what the expression matches.
_Change = tuple[str, RegexMatchAndSubstitute | None]


def path(unit: RouteUnit, rewrite: Rewrite | None) -> _Change:
    if rewrite is None:
        return "", None
    if rewrite.prefix is not None:
        return _prefix(unit, rewrite.prefix)
    if rewrite.path is not None:
        return "", _regex("^.*$", rewrite.path)
    if rewrite.regex is not None and rewrite.substitution is not None:
        return "", _regex(rewrite.regex, rewrite.substitution)
    return "", None


def redirect(unit: RouteUnit, to: Redirect) -> RedirectAction:
    prefix, regex = ("", None) if to.prefix is None else _prefix(unit, to.prefix)
    return RedirectAction(
        https_redirect=True if to.https else None,
        host_redirect=to.host or "",
        # 443 goes without saying where the scheme is https.
        port_redirect=0 if to.port is None or (to.https and to.port == _HTTPS) else to.port,
        path_redirect=to.path,
        prefix_rewrite=prefix or None,
        regex_rewrite=regex,
        response_code=_CODES[to.status],
        strip_query=to.strip_query,
    )


def _prefix(unit: RouteUnit, new: str) -> _Change:
    """Envoy puts one text in place of another; where one of the two is `/`, that would lose or double a slash."""
    if not unit.prefix:
        return new, None
    if unit.path == "/":
        return (new if new == "/" else f"{new}/"), None
    if new == "/":
        # A path of ours holds only letters, digits and / _ . ~ -; of these the dot alone means more than itself.
        return "", _regex(f"^{unit.path.replace('.', '[.]')}/?", "/")
    return new, None


def _regex(pattern: str, substitution: str) -> RegexMatchAndSubstitute:
    return RegexMatchAndSubstitute(pattern=RegexMatcher(regex=pattern), substitution=substitution)
