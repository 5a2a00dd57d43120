"""Sums of trained models: the scores of several models, each times its weight, added up."""
