"""The HTTP API of a store or a directory of stores."""
