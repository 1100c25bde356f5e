"""What becomes of what is played: shown, printed, handed to a function, or written into rings again."""
