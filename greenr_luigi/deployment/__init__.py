"""Whether a new model may serve, and the release that makes it do so."""
