"""What a call used and what it costs."""
