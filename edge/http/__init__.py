"""What every route shares of HTTP: errors, headers, paging, bodies, and what a route declares of itself."""
