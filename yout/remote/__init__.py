"""Runs commands on another installation, through its administration API.

With `YOUT_ADMIN_URL` (the edge's address) and `YOUT_ADMIN_KEY` in the environment, commands make API requests instead of opening
a database. With `--json` they print the API's objects.
"""

URL_VARIABLE, KEY_VARIABLE = "YOUT_ADMIN_URL", "YOUT_ADMIN_KEY"
