"""One small module for each group of addresses; `web.app` puts them together."""
