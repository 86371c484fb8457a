"""The REST API: what a web application, the client and the command line talk to when they do not share the store."""
