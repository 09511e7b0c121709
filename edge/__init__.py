"""The edge: speaks HTTP to customers. It has no tables, no prices and no provider JSON."""
