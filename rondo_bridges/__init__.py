"""Bridges: what frameworks and other instruments' libraries measure, recorded into a store; a module for each of them.

A program imports the module of what it uses; nothing is loaded here. No bridge raises on its own account or changes
what its program does: what it cannot record is counted, and warned of once.
"""
