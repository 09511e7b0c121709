"""Code that every process uses: models, ledger, prices, keys, dialects. Imports no web framework and no other room."""
