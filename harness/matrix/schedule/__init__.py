"""When it runs: which job starts next, and what that comes to. Nothing here starts anything."""
