"""The publisher of `risk-parameters`: one elected process that turns prices into margin multipliers."""
