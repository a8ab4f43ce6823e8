"""From a few class names to a deployed picture classifier, as a Luigi task graph."""
