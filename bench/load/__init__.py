"""Load on a whole federation at rates that do not wait for it: `make load`, docs/operate/load.md."""
