"""What operators and staff do, one function a deed.

Every function is one transaction: it checks what was typed, changes the rows, writes one `AuditEntry` that names the `actor`
(and the `address` they came from, where there is one), and returns the row. It raises `InvalidInput` for a value that cannot be
used and `NotFound` for a row that is not there; either message says what to do. A call that changes nothing writes no entry.
"""
