"""Staff actions, one function each, which call `shared.operations` as the signed-in person."""
