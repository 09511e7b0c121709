"""The catalogs of translations, and the command that updates them: `python -m shared.locale`."""
