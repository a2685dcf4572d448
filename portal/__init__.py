"""HTTP for people and scripts: platform API, control API, developer portal, API reference."""
