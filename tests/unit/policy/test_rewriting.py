"""A rewrite leads where it says: no path that a client chooses leads a service's request out of it."""

import re

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from policy.rewriting import Rewrite

GOOD = [
    ("^/a/(.*)$", r"/b/\1"),
    ("^/a/([^/]+)/(.*)$", r"/b/\1/c/\2"),
    ("^/(?:a|b)/([a-z.]+)/x$", r"/c/\1"),
    (r"^/v\d[.]\d/(.*)$", r"/\1"),
    ("^/a/(x|v1)/(.*)$", r"/\1/b/\2"),
    (r"^/a/(\w+)/([a-z.-]{2})/(.*)$", r"/\2/\1/\3"),
]


@pytest.mark.parametrize(
    ("regex", "substitution", "said"),
    [
        ("/abc", "/b", "the whole path"),
        ("^/a", "/b", "the whole path"),
        ("^/a(.*)$", r"/b/\1", "begins after a /"),
        ("^/a/(.)x$", r"/b/\1", "ends before a /"),
        ("^/a/((.)x)/$", r"/\2", "in no other group"),
        ("^/a/(?:/(.))x$", r"/\1", "in no other group"),
        ("^/a|/(x)$", r"/\1", "alternatives stand in a group"),
        ("^/a/(x)?/$", r"/\1", "ends before a /"),
        ("^/a/(x)/?$", r"/\1", "always there"),
        ("^/a/(x)/*$", r"/\1", "always there"),
        ("^/[[:alpha:]/(]/$", "/x", "holds no other"),
        (r"^/\Q(\E$", "/x", "escapes"),
        (r"^/a\/(x)$", r"/\1", "escapes"),
        ("^/(?i)a$", "/b", "without names and flags"),
        ("^/(?P<a>b)$", "/b", "without names and flags"),
        ("^/a$|^/b$", "/c", "stands at the end"),
        ("^/a)(b$", "/c", "group"),
        ("^/a{2000}$", "/b", "not a regular expression"),
        ("^/a{500}$", "/b", "steps of RE2"),
        ("^/a/(.*)$", r"/b/\2", "more than the 1"),
        ("^/a/(.*)$", r"/b\1", "a path whose segments"),
        ("^/a/(.*)$", r"/\1.", "a path whose segments"),
        ("^/a/(.*)$", "b", "too short|at least 2|a path whose segments"),
        ("^/a/(.*)$", r"//evil.test/\1", "a path whose segments"),
        ("^/a/(.*)$", r"/b/../\1", "no . or .. segments"),
        ("^/a/(.*)$", "/b?c=d", "a path whose segments"),
        ("^/a/(.*)$", r"/\1/x", "takes one segment"),
        ("^/a/(.+)$", r"/\1/x", "takes one segment"),
        ("^/a/([^/]*)/(.*)$", r"/\1/\2", "takes one segment"),
        ("^/a/([^a]+)/(.*)$", r"/\1/\2", "takes one segment"),
        ("^/a/(x|)/(.*)$", r"/\1/\2", "takes one segment"),
        ("^/a/(x|.?.?)/(.*)$", r"/\1/b/\2", "takes one segment"),
        ("^/a/(.*)$", "/b\r\nx: y", "a path whose segments"),
    ],
)
def test_an_expression_that_could_lead_out_is_refused(regex: str, substitution: str, said: str) -> None:
    with pytest.raises(ValidationError, match=re.compile(said)):
        Rewrite(regex=regex, substitution=substitution)


@given(
    st.sampled_from(GOOD),
    st.lists(st.text(st.sampled_from("abvx1.~-"), min_size=1, max_size=4), max_size=6),
)
def test_no_path_that_envoy_has_normalised_leads_out(good: tuple[str, str], segments: list[str]) -> None:
    path = "/" + "/".join(one for one in segments if one not in {".", ".."})
    rewrite = Rewrite(regex=good[0], substitution=good[1])
    assert rewrite.regex is not None
    assert rewrite.substitution is not None
    served = re2.sub(rewrite.regex, rewrite.substitution, path)
    assert served == path or "//" not in served
    assert not {".", ".."} & set(served.split("/"))
    assert served.startswith("/")
