"""What a matching engine does with each record of `liquidation-orders`, as a pure module to use or to port. See README.md."""
