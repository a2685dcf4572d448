"""What `apibank explain` shows to people."""

import sys
from typing import Any

from apibank.output import print_pairs
from portal.explained_words import end_of, pairs_of, place_of


def print_explanation(told: dict[str, Any]) -> None:
    """The way of a request, a block for each gateway, and how it ends."""
    sys.stdout.write(f"{told['method']} {told['path']}\n")
    for number, hop in enumerate(told["hops"], 1):
        listener = hop["listener"]
        sys.stdout.write(f"\n{number}. {hop['gateway']}, listener {listener['name']} on {listener['address']}\n")
        print_pairs([("listener", place_of(listener)), *pairs_of(hop)], indent=3)
    sys.stdout.write(f"\n{end_of(told)}\n")
