"""What staff change, one function an action: one call into `shared.operations` in the name of whoever is signed in."""
