"""The developer portal: pages for the people who call the API, made on the server (R116-R120)."""
