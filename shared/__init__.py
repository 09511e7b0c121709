"""What every room uses: models, money, prices, keys, dialects. Knows no web framework and no room above it."""
