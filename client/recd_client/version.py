"""What this is, for messages and for those who ask."""

__version__ = "0.1.0"
