"""A gallery over HTTP, and its page: `osnet.server.run.Server` runs what `osnet.server.app.create_app` makes."""
