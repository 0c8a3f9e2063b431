"""Commands of serving: what people type. Each imports what it needs when it is called."""
