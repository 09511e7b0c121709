"""HTTP code shared by all routes: errors, headers, paging, request bodies, and OpenAPI declarations."""
