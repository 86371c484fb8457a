"""gateway of Tether."""
