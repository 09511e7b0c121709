"""Models, prices and channels as they are served, and the choice among channels."""
