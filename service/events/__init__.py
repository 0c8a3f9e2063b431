"""Events: what was shown is kept, after the answer has gone and beside the event loop."""
