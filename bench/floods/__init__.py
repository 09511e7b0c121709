"""What one hostile upstream or caller costs its neighbors: `python -m bench.floods`."""
