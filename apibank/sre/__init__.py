"""What the console asks: the control API, and the tables of traffic."""
