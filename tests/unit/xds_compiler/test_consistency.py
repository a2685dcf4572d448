"""What an Envoy would accept and then suffer from is found before it is sent."""

import pytest

from xds.consistency import InconsistentError, inconsistencies
from xds.snapshot import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Origin, Resource


def resource(name: str, *needs: tuple[str, str], origin: Origin | None = None) -> Resource:
    return Resource.of(name, name.encode(), origin, needs)


FITTING = [
    (CLUSTER, resource("c", (ENDPOINT, "c"), (SECRET, "s"))),
    (ENDPOINT, resource("c")),
    (SECRET, resource("s")),
    (LISTENER, resource("l", (ROUTE, "r"))),
    (ROUTE, resource("r", (CLUSTER, "c"))),
]


def test_resources_that_refer_to_each_other_fit() -> None:
    assert inconsistencies(FITTING) == []


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (CLUSTER, ["RDS 'r' refers to CDS 'c', which does not exist", "EDS 'c' is referred to by nothing"]),
        (ENDPOINT, ["CDS 'c' refers to EDS 'c', which does not exist"]),
        (SECRET, ["CDS 'c' refers to SDS 's', which does not exist"]),
        (ROUTE, ["LDS 'l' refers to RDS 'r', which does not exist"]),
        (LISTENER, ["RDS 'r' is referred to by nothing"]),
    ],
)
def test_a_name_that_nothing_bears_and_a_resource_that_nobody_asks_for_are_found(missing: str, said: list[str]) -> None:
    problems = inconsistencies(one for one in FITTING if one[0] != missing)
    assert len(problems) == len(said)
    for problem, words in zip(problems, said, strict=True):
        assert str(problem).startswith(words)


def test_two_resources_of_one_name_are_found() -> None:
    (problem,) = inconsistencies([*FITTING, (CLUSTER, resource("c", origin=Origin("a.yaml", 3)))])
    assert str(problem) == "a.yaml:3: CDS 'c' exists twice"


def test_one_name_may_be_of_two_types() -> None:
    assert inconsistencies([(CLUSTER, resource("x")), (LISTENER, resource("x"))]) == []


def test_an_error_says_all_that_is_wrong() -> None:
    error = InconsistentError(inconsistencies([(LISTENER, resource("l", (ROUTE, "r"), (SECRET, "s")))]))
    assert len(error.problems) == 2
    assert "RDS 'r'" in str(error)
    assert "SDS 's'" in str(error)
