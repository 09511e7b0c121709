"""Files in deploy/ and at the top level that platforms and operators use."""
