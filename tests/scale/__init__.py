"""How cost grows: `python -m tests.scale` measures along each axis on real servers, and writes docs/scale.md."""
