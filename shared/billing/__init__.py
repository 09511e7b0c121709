"""Billing: quotes, charges, token usage, receipts and usage reports."""
