"""Yout beside other gateways: one mock upstream, one machine, the same calls, in turns.

    python -m bench.gateway --kit DIR [--peers DIR] [--only NAMES] [--rounds N] [--tests NAMES] [--out FILE]

`bench/README.md` tells what is measured and what the kit must hold.
"""
