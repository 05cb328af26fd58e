"""Drawn pedestrians: who they are, how they walk, and the cameras that see them.

person → wardrobe (textures) → body (parts of a walking figure) → raster (pixels) → camera and scene (one crop).
"""
