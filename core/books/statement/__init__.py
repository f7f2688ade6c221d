"""The statement: what an account was charged, paid and has, for one month; a document for customers."""
