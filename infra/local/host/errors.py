"""What the host refuses."""


class HostError(Exception):
    """The app cannot be run as it is declared; the message names the function or setting and what to do."""
