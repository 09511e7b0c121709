"""How the cost of a call grows with its size and with the installation: `python -m bench.growth`."""
