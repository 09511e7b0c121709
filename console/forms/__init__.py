"""The forms of the console."""
