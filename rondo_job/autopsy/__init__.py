"""How a recorded process, job or virtual machine ended: the verdict, and its evidence line by line."""
