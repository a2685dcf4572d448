"""What the developer portal asks: the issuer, the sessions, keys, limits and usage of the running federation."""
