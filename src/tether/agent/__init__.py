"""agent of Tether."""
