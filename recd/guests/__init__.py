"""Guests: child processes of a worker for code that recd does not control. Only their own sink suffers from them."""
