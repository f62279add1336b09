"""The page: what a browser sees at `/`, and what it asks beside PromQL: the lives, and what is known of one."""
