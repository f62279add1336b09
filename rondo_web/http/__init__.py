"""Between a socket and a page: who is heard, how long a client may take, how an answer is made and sent."""
