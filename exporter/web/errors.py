"""The error of the web configuration, apart from what reads it, which most exporters never need."""


class WebConfigError(ValueError):
    """A web configuration that cannot be used; a line for each reason, with the place in the file."""
