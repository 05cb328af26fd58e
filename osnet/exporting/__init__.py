"""A network → a file that another program runs, and the proof that it gives the same features there."""
