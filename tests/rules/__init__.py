"""The rules of the design's decisions 1 to 7, each with what breaks it and the tests that then fail: `make rules`."""
