"""The message bus that carries orders and requests to the agents."""
