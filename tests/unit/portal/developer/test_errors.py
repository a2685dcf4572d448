"""The error catalogue in the portal: every code that a client may get, for everybody, and nothing for operators."""

import pytest

from apibank.developer.catalogue import catalogue, folder
from portal.developer.errors import as_html, read_error_page
from tests.unit.portal.developer.world import Browser


def test_every_page_of_the_catalogue_is_there_but_those_of_the_control_api() -> None:
    codes = {path.stem for path in folder().glob("*.md")} - {"README"}
    left_out = codes - set(catalogue())
    assert "token_expired" in catalogue()
    assert "rate_limited" in catalogue()
    for code in left_out:
        assert "answered by the control API" in (folder() / f"{code}.md").read_text(encoding="utf-8")
    for code, page in catalogue().items():
        assert page.code == code
        assert [name for name, _ in page.sections][:2] == ["What happened", "What to do"]
        assert "For operators" not in [name for name, _ in page.sections]


async def test_each_code_has_a_page_for_everybody(browser: Browser) -> None:
    index = (await browser.get("/portal/errors")).text
    for code, page in catalogue().items():
        assert f'href="/portal/errors/{code}"' in index
        shown = await browser.get(f"/portal/errors/{code}")
        assert shown.status_code == 200
        assert page.title in shown.text
        for part in shown.text.split('href="/portal/errors/')[1:]:
            assert part.split('"')[0] in catalogue() or part.split('"')[0] == ""


@pytest.mark.parametrize("wanted", ["429", "rate_lim", "Access token"])
async def test_codes_are_found_by_status_and_words(browser: Browser, wanted: str) -> None:
    page = (await browser.get("/portal/errors", q=wanted)).text
    assert ("token_expired" in page) == (wanted == "Access token")
    assert ("/portal/errors/rate_limited" in page) == (wanted != "Access token")


@pytest.mark.parametrize("code", ["nothing", "..%2f..%2fREADME", "README", "<script>", "policy_invalid"])
async def test_a_code_that_there_is_none_of_has_no_page(browser: Browser, code: str) -> None:
    assert (await browser.get(f"/portal/errors/{code}")).status_code == 404


async def test_what_is_searched_for_runs_nowhere(browser: Browser) -> None:
    page = (await browser.get("/portal/errors", q='"><script>alert(1)</script>')).text
    assert "<script>alert" not in page
    assert "There is no code like that." in page


def test_of_markdown_is_made_what_the_pages_have_and_nothing_else() -> None:
    links = as_html("A `<b>` and\n[its `x` page](token_expired.md#a), [more](../operate/x.md).\n")
    assert links == (
        '<p>A <code>&lt;b&gt;</code> and <a href="/portal/errors/token_expired">its <code>x</code> page</a>, more.</p>'
    )
    fenced = as_html('```json\n{"a": "<i>"}\n```\n<img>')
    assert fenced == '<pre tabindex="0"><code>{&#34;a&#34;: &#34;&lt;i&gt;&#34;}</code></pre>\n<p>&lt;img&gt;</p>'


@pytest.mark.parametrize("text", ["", "# x", "x\n\n1 · a · answered by b", "# x\n\nnothing\n\n## What happened\n"])
def test_a_page_of_another_form_is_told_of(text: str) -> None:
    with pytest.raises(ValueError, match="begins with"):
        read_error_page(text)
