"""Structured fields and signatures: nothing raises, what is read has one writing, what is taken covers all it must.

The first octet says what the rest is: `l` inner lists, `b` byte sequences, `m` a Signature-Input under which a message
is signed as the verifier itself would read it, so that nothing but the signature's own rules can refuse it.
"""

import base64
import hmac
from dataclasses import replace

from authz.decision import Refusal
from authz.identity.hmac_signature import MANDATORY, SignatureRules, signature_base, verify_signature
from authz.identity.structured_fields import read_byte_sequences, read_inner_lists
from tests.fuzz.again import run_again
from tests.unit.authz.world import AGENT_SECRET, NOW, facts, signed

RULES = SignatureRules(60, "agent", "internal")
FACTS = facts()
MESSAGE = signed(nonce="nonce-of-the-fuzzer")


def judge(octets: bytes) -> None:
    """Raises where a promise is broken."""
    kind, text = octets[:1], octets[1:].decode("utf-8", "surrogateescape")
    if kind == b"l":
        for found in (read_inner_lists(text) or {}).values():
            # One writing, which is read back as the same.
            assert read_inner_lists(f"x={found.serialised()}") == {"x": found}
    elif kind == b"b":
        for octet_sequence in (read_byte_sequences(text) or {}).values():
            written = base64.b64encode(octet_sequence).decode()
            assert written.rstrip("=") in text
            assert read_byte_sequences(f"x=:{written}:") == {"x": octet_sequence}
    elif kind == b"m":
        _judge_message(text)


def _judge_message(text: str) -> None:
    lists = read_inner_lists(text) or {}
    label, covered = next(iter(lists.items()), ("sig1", None))
    base = None if covered is None else signature_base(MESSAGE, covered)
    proof = base64.b64encode(hmac.digest(AGENT_SECRET, base or b"", "sha256")).decode()
    headers = {**MESSAGE.headers, "signature-input": text, "signature": f"{label}=:{proof}:"}
    found = verify_signature(replace(MESSAGE, headers=headers), RULES, FACTS, NOW)
    if isinstance(found, Refusal):
        return
    assert covered is not None
    principal, claim = found
    told = dict(covered.parameters)
    assert len(lists) == 1
    assert set(MANDATORY) <= set(covered.items)
    assert len(set(covered.items)) == len(covered.items)
    assert told["alg"] == "hmac-sha256"
    assert told["tag"] == "waooaw-agent"
    assert told["keyid"] == principal.agent == "content"
    assert told["nonce"] == claim.nonce
    assert isinstance(told["created"], int)
    assert abs(told["created"] - NOW) <= 60


if __name__ == "__main__":
    run_again(judge)
