"""Work that runs later, and safely twice."""
