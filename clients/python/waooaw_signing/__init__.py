"""Signs requests as agents of WAOOAW do: HTTP Message Signatures (RFC 9421) with hmac-sha256.

    headers = sign("POST", url, body, agent_id="content", secret=secret)

Send the request with these headers beside its own, with exactly this URL and these octets as its body.
"""

from waooaw_signing.signing import content_digest, sign, signature, signature_base

__all__ = ["content_digest", "sign", "signature", "signature_base"]
