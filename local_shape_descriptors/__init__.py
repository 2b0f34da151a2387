"""Local shape descriptors: neurons from raw electron microscopy."""
