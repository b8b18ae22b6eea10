"""From tables to pages: figures, tables, run pages and the book. Nothing here trains or changes a result."""
