"""Preference pairs that are wrong on purpose, and pairs from multiple choice to try it on."""
