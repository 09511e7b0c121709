"""Commands, one module per noun. `register` adds its verbs; a verb imports what it needs when it runs."""
