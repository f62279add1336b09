"""Between a socket and a page."""
