"""Pictures: previews and plots as PNG files, and Neuroglancer states.

The modules are imported one by one (``from catena.viewing.preview import write_preview``), so that
a command that shows nothing does not pay for Matplotlib or Neuroglancer.
"""
