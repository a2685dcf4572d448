"""The API reference: what gateways enforce, as OpenAPI, so that neither can say something else than the other."""
