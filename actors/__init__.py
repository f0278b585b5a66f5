"""What ships on top of the engine. Imports runtime and schemas, and nothing in either imports this."""
