"""One file a noun: `register` adds its verbs to the grammar; a verb imports what it needs when it runs."""
