"""worker of Tether."""
