"""Figures of this package beside its peers."""
