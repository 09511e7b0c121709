"""Operations of staff and operators.

Each function runs in one transaction: it validates its input, changes rows, writes one `AuditEntry` with the `actor` and the
`address`, and returns the row. It raises `InvalidInput` for invalid values and `NotFound` for missing rows; the message
says what to do. A call that changes nothing writes no audit entry.
"""
