"""queue of Tether."""
