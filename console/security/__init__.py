"""Who may use the console and what each role may do."""
