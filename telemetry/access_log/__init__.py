"""What Envoys say of every request, as usage: who called what, how often, with what result, and how long it took."""
