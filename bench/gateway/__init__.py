"""Compares Yout with other gateways: one mock upstream, one machine, the same calls, in turn.

    python -m bench.gateway [--peers DIR] [--only NAMES] [--rounds N] [--tests NAMES] [--out FILE]

`bench/README.md` lists what is measured.
"""
