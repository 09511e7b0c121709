"""The OpenAI-shaped routes that are not hot."""
