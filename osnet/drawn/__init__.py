"""Pedestrians that this package draws itself: who they are, how they stand, what sees them.

person → wardrobe (textures) → body (parts of a walking figure) → raster (pixels) → camera and scene (one crop).
"""
