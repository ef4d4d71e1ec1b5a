"""A simulated venue with a flash crash, played against a real worker on this machine."""
