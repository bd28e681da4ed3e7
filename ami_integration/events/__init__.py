"""Events: from the listener's sockets over a stream into the store and onto the live page."""
