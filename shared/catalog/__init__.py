"""The catalog: snapshot of models, prices and channels, routing, failover, and templates."""
