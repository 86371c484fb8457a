"""tools of Tether."""
