"""The count of failed credentials is that of a plain table, however it forgets and tells."""

from hypothesis import given, settings
from hypothesis import strategies as st

from authz.failures import WINDOW_SECONDS, Failures

MOST = 3
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fails"), st.sampled_from("abcdef")),
        st.tuples(st.just("passes"), st.floats(0, WINDOW_SECONDS)),
        st.tuples(st.just("heard"), st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 9))),
        st.tuples(st.just("told"), st.integers(1, 3)),
    ),
    max_size=200,
)


@settings(deadline=None)
@given(STEPS)
def test_each_address_is_counted_as_if_alone_and_every_failure_is_told_once(steps: list[tuple[str, object]]) -> None:
    now = 100.0
    failures = Failures(lambda: now)
    table: dict[str, tuple[float, int]] = {}
    counted = dict.fromkeys("abcdef", 0)
    told = dict.fromkeys("abcdef", 0)

    def known(address: str) -> tuple[float, int]:
        end, count = table.get(address, (0.0, 0))
        return (end, count) if end > now else (now + WINDOW_SECONDS, 0)

    for what, given_ in steps:
        if what == "passes":
            assert isinstance(given_, float)
            now += given_
        elif what == "fails":
            assert isinstance(given_, str)
            end, count = known(given_)
            wait = failures.count(given_, MOST)
            assert wait == (end - now if count >= MOST else 0.0)
            if count < MOST:
                table[given_] = end, count + 1
                counted[given_] += 1
        elif what == "heard":
            assert isinstance(given_, dict)
            failures.hear(given_)
            for address, total in given_.items():
                end, count = known(address)
                table[address] = end, max(count, total)
        else:
            assert isinstance(given_, int)
            for address, count in failures.take_untold(given_).items():
                told[address] += count
    # What was forgotten before its turn came is worth nothing to anybody any more.
    for address, count in failures.take_untold(99).items():
        told[address] += count
    assert all(told[address] <= counted[address] for address in counted)
    assert all(told[address] == counted[address] for address in counted if now < 100.0 + WINDOW_SECONDS)
