"""The effect of one hostile upstream or caller on other streams: `python -m bench.floods`."""
