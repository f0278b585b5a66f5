"""The house itself: its contracts can break, its targets are explained, its exceptions have reasons."""
