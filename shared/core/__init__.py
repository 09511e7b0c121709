"""What everything stands on: settings, time, errors, secrets, and connections to the database."""
