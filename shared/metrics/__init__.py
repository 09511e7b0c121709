"""Counters that the processes of a program share, rendered in Prometheus' text format.

definitions   metrics; those with the same labels form a `Group`
counters      integers in shared memory, one part for each process, so that any process can report the sum
exposition    the sums as text
access        who may read the metrics
"""
