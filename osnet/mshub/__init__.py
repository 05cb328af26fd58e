"""What mindspore_hub expects: its entry point (`entry`), its cache (`install`), and short names for its users.

Importing this patches nothing and loads no framework.
"""

from __future__ import annotations

from osnet.mshub.short_names import register, unregister

__all__ = ["register", "unregister"]
