"""Probes: short calls that compare what a channel serves with a reference channel of the same model.

    questions.py   the probes, and whether a reply passes. Pure
    comparison.py  which of three replies to one probe differs from the other two. Pure
    evidence.py    the sequential test over many probes. Pure
    client.py      sends a probe three times: twice to the reference, once to the channel

`shared/operations/model_probes.py` stores the results.
"""
