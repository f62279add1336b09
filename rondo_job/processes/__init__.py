"""The processes of a job, looked at through /proc: who they are, what they took, how they ended."""
