"""Prepare data: synthesise, convert, lay out."""
