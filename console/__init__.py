"""The staff console: Flask, Flask-Admin and Flask-Login. Changes money and keys only through `shared`."""
