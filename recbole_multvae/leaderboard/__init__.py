"""Leaderboards: several models under one protocol, one process for each run, and one report. Start at board.py."""
