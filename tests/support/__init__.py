"""Real servers for the tests: they listen on loopback, on ports the system chose, and are stopped by process id."""
