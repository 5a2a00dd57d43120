"""The import of a user's tables, CSV, JSON lines or Parquet, into RecBole's atomic files."""
