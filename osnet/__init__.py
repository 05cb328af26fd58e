"""OSNet person re-identification."""
