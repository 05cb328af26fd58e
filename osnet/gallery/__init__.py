"""Features that are kept: people are enrolled, searched and removed. `osnet.gallery.gallery.Gallery` is the way in."""
