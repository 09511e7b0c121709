"""The staff console: Flask, Flask-Admin and Flask-Login. Changes money or keys only through `shared`."""
