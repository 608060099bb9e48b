"""The ARM endpoint: the one host that may see the bearer token."""

from ipaddress import IPv4Network, IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

_LOOPBACK_V4 = IPv4Network("127.0.0.0/8")
_LOOPBACK_V6 = IPv6Address("::1")

_ADVICE = "give an absolute https URL such as https://management.azure.com, without path, query or user"

_AUDIENCES = {
    # The US Government's ARM takes tokens of its older "core" name only (azure-core's table of clouds).
    "management.usgovcloudapi.net": "https://management.core.usgovcloudapi.net",
}


def parse_endpoint(text: str) -> str:
    """Give the endpoint as scheme, host and port, in lower case, without a trailing slash.

    Raises:
        ValueError: it is no absolute https URL of a host alone; http is allowed for a loopback address. The
            message never repeats the text, which may hold a password.
    """
    try:
        url = urlsplit(text)
        _ = url.port  # an impossible port is found only on asking
    except ValueError:
        raise ValueError(f"is no URL: {_ADVICE}") from None
    if not _is_bare(text, url):
        raise ValueError(f"is not the URL of a host alone: {_ADVICE}")
    if url.scheme != "https" and not (url.scheme == "http" and _is_loopback_host(url.hostname)):
        raise ValueError(f"is not https (http is allowed for a loopback address only): {_ADVICE}")
    return f"{url.scheme}://{url.netloc.lower()}"


def is_loopback(endpoint: str) -> bool:
    """Whether the endpoint is this computer: `localhost`, 127.0.0.0/8 or ::1, by name alone, never by DNS."""
    return _is_loopback_host(urlsplit(endpoint).hostname)


def token_scope(endpoint: str) -> str:
    """Give the scope a token is asked for, in the endpoint's own cloud."""
    audience = _AUDIENCES.get(urlsplit(endpoint).hostname or "", endpoint)
    return f"{audience}/.default"


def _is_bare(text: str, url: SplitResult) -> bool:
    clean = text.isascii() and text.isprintable() and not any(mark in text for mark in " \\@?#%")
    return clean and bool(url.hostname) and url.path in ("", "/")


def _is_loopback_host(host: str | None) -> bool:
    if host is None or host == "localhost":
        return host is not None
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address == _LOOPBACK_V6 or address in _LOOPBACK_V4
