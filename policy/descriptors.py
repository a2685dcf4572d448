"""The names that authz writes, Envoy copies and ratelimit matches.

Three programs must agree on these strings for a limit to hold; they agree by importing them from here.

A limit becomes one descriptor of Envoy's ratelimit filter (`envoy.config.route.v3.RateLimit`), in the domain that
is the gateway's name::

    (LIMIT, limit name) [(TIER, tier)] [(CALLER, caller) | (ADDRESS, client address)]
"""

from typing import Final

# Keys of descriptor entries.
LIMIT: Final = "limit"
TIER: Final = "tier"
CALLER: Final = "caller"
ADDRESS: Final = "address"

# Keys of the dynamic metadata that authz returns with an allowed request; TIER and CALLER are two of them.
METADATA_NAMESPACE: Final = "envoy.filters.http.ext_authz"
SUBJECT: Final = "subject"
TENANT: Final = "tenant"
ROLE: Final = "role"
# The public id of the API key that was shown; a token has none here.
CREDENTIAL: Final = "credential"
GATEWAY: Final = "gateway"
ROUTE: Final = "route"
OUTCOME: Final = "outcome"

# What Envoy puts where authz said nothing. No limit has a figure for it: the request is refused, not unlimited.
UNKNOWN: Final = "unknown"
ANONYMOUS: Final = "anonymous"

# The kinds of caller. The prefix keeps a subject that is spelt like a tenant from sharing its counter.
CALLER_TENANT: Final = "tenant:"
CALLER_SUBJECT: Final = "sub:"
CALLER_PARTNER: Final = "partner:"
CALLER_AGENT: Final = "agent:"
# Who passes unknown where others must be known (policy.modes).
CALLER_ADDRESS: Final = "address:"

# Keys of ext_authz context extensions: which rules decide this request.
CONTEXT_GATEWAY: Final = "gateway"
CONTEXT_POLICY: Final = "policy"
CONTEXT_LISTENER: Final = "listener"
CONTEXT_ROUTE: Final = "route"

# Envoy writes the client's address here ahead of ext_authz, over whatever the client sent.
CLIENT_ADDRESS_HEADER: Final = "x-waooaw-client-address"

# Identity headers for the upstream, set by authz alone.
IDENTITY_HEADERS: Final = (
    "x-waooaw-subject",
    "x-waooaw-tenant",
    "x-waooaw-role",
    "x-waooaw-tier",
    "x-waooaw-scopes",
    "x-waooaw-agent",
    "x-waooaw-partner",
)

# Names under which services elsewhere look for an identity, a path or a method: never taken from a client.
SPOOFABLE_PREFIXES: Final = (
    "ssl-client-",
    "x-amzn-oidc-",
    "x-auth-",
    "x-authenticated-",
    "x-consumer-",
    "x-credential-",
    "x-goog-authenticated-user-",
    "x-jwt-",
    "x-ms-client-principal",
    "x-ssl-client-",
    "x-user-",
    "x-waooaw-",
)
SPOOFABLE_HEADERS: Final = (
    "cf-access-jwt-assertion",
    "cf-connecting-ip",
    "client-ip",
    "fastly-client-ip",
    "forwarded",
    "front-end-https",
    "proxy",
    "proxy-client-ip",
    "remote-addr",
    "remote-user",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-access-token",
    "x-agent-id",
    "x-authorization",
    "x-azure-clientip",
    "x-client-cert",
    "x-client-dn",
    "x-client-ip",
    "x-client-verify",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-forwarded-access-token",
    "x-forwarded-by",
    "x-forwarded-client-cert",
    "x-forwarded-client-ip",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-preferred-username",
    "x-forwarded-prefix",
    "x-forwarded-protocol",
    "x-forwarded-roles",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-uri",
    "x-forwarded-user",
    "x-groups",
    "x-host",
    "x-http-method",
    "x-http-method-override",
    "x-http-path-override",
    "x-id-token",
    "x-method-override",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-method",
    "x-original-path",
    "x-original-uri",
    "x-original-url",
    "x-originating-ip",
    "x-partner",
    "x-partner-id",
    "x-permissions",
    "x-principal",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-remote-user",
    "x-rewrite-url",
    "x-role",
    "x-roles",
    "x-scheme",
    "x-scope",
    "x-scopes",
    "x-subject",
    "x-tenant",
    "x-tenant-id",
    "x-tenantid",
    "x-tier",
    "x-uid",
    "x-url-scheme",
    "x-user",
    "x-username",
    "x-webauth-user",
)
