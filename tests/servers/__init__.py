"""Real servers and processes that the suite starts itself, and stops whatever happens."""
