"""The console of site reliability engineers: the federation, its policies, and why requests are answered so."""
