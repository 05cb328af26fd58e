"""Checkpoint files and the weights in them: MindSpore's ``.ckpt``, torchreid's ``.pth``, ``.safetensors``."""
