"""The routes under `/v1`, in the formats of OpenAI and Anthropic."""
