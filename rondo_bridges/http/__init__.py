"""HTTP requests: their instruments, and the templates of their routes; for every kind of server."""
