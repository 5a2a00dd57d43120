"""Leaderboards: several models under one protocol, one process for each run, and one report. board.py is the thread."""
