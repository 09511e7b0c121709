"""The native API under `/api`: simpler than OpenAI's, on the same exchange."""
