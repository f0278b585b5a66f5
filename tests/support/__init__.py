"""What several tests need: servers, pods as processes, and the kinds they run."""
