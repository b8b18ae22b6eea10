"""The documents' claims and our hypotheses: rows of book/claims become evidence, evidence becomes verdicts."""
