"""HTML pages and their assets. Views only render and redirect; changes are made in `shared`."""
