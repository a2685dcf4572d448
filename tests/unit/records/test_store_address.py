"""URLs of stores: what they name, and what is said of those that name nothing."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from apibank.certificates import ensure_certificates
from apibank.settings import Settings
from records.store_address import Kind, Node, Tls, check_tls, parse_store_url


@pytest.mark.parametrize(
    ("url", "kind", "nodes", "db"),
    [
        ("redis://h", Kind.SERVER, [("h", 6379)], 0),
        ("redis://", Kind.SERVER, [("localhost", 6379)], 0),
        ("redis://h:1/2", Kind.SERVER, [("h", 1)], 2),
        ("redis://[::1]:1/2", Kind.SERVER, [("::1", 1)], 2),
        ("rediss://u:p@h:1", Kind.SERVER, [("h", 1)], 0),
        ("unix:///run/v.sock?db=3", Kind.SERVER, [("/run/v.sock", 0)], 3),
        ("unix://u:p@/run/v.sock", Kind.SERVER, [("/run/v.sock", 0)], 0),
        ("redis+sentinel://a,b:1,[::1]:2/4?master=m", Kind.SENTINEL, [("a", 26379), ("b", 1), ("::1", 2)], 4),
        ("rediss+cluster://a:1,b", Kind.CLUSTER, [("a", 1), ("b", 6379)], 0),
    ],
)
def test_a_url_names_a_store(url: str, kind: Kind, nodes: list[tuple[str, int]], db: int) -> None:
    found = parse_store_url(url)
    assert (found.kind, list(found.nodes), found.db) == (kind, [Node(*node) for node in nodes], db)
    assert (found.tls is not None) == url.startswith("rediss")


def test_users_and_passwords_are_read_as_they_are_spelt() -> None:
    plain = parse_store_url("redis://us%40er:pass%2Fword@h/0").login
    assert (plain.user, plain.password, plain.file) == ("us@er", "pass/word", None)
    filed = parse_store_url(
        "redis+sentinel://u@h/0?master=m&password_file=/p&sentinel_user=s&sentinel_password_file=/q"
    )
    assert filed.login.file is not None
    assert filed.sentinel_login.file is not None
    assert (str(filed.login.file.path), filed.login.file.user) == ("/p", "u")
    assert (str(filed.sentinel_login.file.path), filed.sentinel_login.file.user) == ("/q", "s")


def test_a_place_is_written_without_what_lets_one_in() -> None:
    written = str(parse_store_url("redis+sentinel://user:secret@h:1,i:2/0?master=m"))
    assert written == "sentinel h:1,i:2 (m)"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://user:secret@h", "begins with one of redis://, rediss://, unix://"),
        ("redis://user:secret@h?timeout=1", "takes password_file, db, and no 'timeout'"),
        ("redis://h?ca_file=/x", "no 'ca_file'"),
        ("rediss://h?master=m", "no 'master'"),
        ("redis://user:secret@h/0?password_file=/x", "holds no password"),
        ("redis://h?password_file=", "given once, and not empty"),
        ("redis://h?db=1&db=2", "given once"),
        ("redis://user:secret@h/x", "a number"),
        ("redis://h:99999", "HOST:PORT"),
        ("redis://a,b", "HOST:PORT"),
        ("redis+cluster://a,,b", "with a comma between two"),
        ("redis+cluster://a/1", "database 0 only"),
        ("redis+sentinel://a", "master=NAME"),
        ("rediss://h?cert_file=/x", "given together"),
        ("unix://run/v.sock", "unix:///PATH"),
    ],
)
def test_what_is_wrong_with_a_url_is_said_without_its_secrets(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        parse_store_url(url)
    assert "secret" not in str(raised.value)


def test_the_setting_says_what_it_takes() -> None:
    assert Settings(store="redis+cluster://a,b").store == "redis+cluster://a,b"
    with pytest.raises(ValueError, match="valkey, memory, or a store's URL: a URL of Sentinels names"):
        Settings(store="redis+sentinel://a,b")


def test_a_certificate_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    issued = ensure_certificates(tmp_path, ["central"], datetime.now(UTC))
    mine, other = issued.mesh["central"], issued.control_plane
    check_tls(Tls(issued.ca_file, mine.chain_file, mine.key_file))
    with pytest.raises(ValueError, match=r"ca_file .*nowhere cannot be used: No such file"):
        check_tls(Tls(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"cert_file .* with key_file .* cannot be used"):
        check_tls(Tls(issued.ca_file, mine.chain_file, other.key_file))
    (tmp_path / "noise").write_text("no certificate", encoding="utf-8")
    with pytest.raises(ValueError, match=r"ca_file .*noise cannot be used"):
        check_tls(Tls(tmp_path / "noise"))
