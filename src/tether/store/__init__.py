"""store of Tether."""
