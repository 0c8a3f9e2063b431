"""Events: what the service keeps of what was shown and of what came of it. Knows no HTTP."""
