"""adapters of Tether."""
