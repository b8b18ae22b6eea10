"""Should I put this norm in my agent? Runs the arms that a question names, or takes their scores, and answers it."""
