"""Ranked tags compared with people's lists."""
