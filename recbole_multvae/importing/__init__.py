"""Tables of users' own data, CSV, JSON lines and Parquet, become RecBole's atomic files."""
