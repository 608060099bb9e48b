"""Where the storage account is and how to sign in, from the environment.

The variables are written as the Functions host writes its own connections: a connection string under the
plain name, or an identity-based connection under `NAME__property`. The host reads them through .NET's
configuration, which ignores case and takes an empty value for none, so this does too.
https://learn.microsoft.com/azure/azure-functions/functions-reference#configure-an-identity-based-connection
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

OWN_NAME = "COST_STORAGE"
HOST_NAME = "AzureWebJobsStorage"

Service = Literal["blob", "queue", "table"]
SERVICES: tuple[Service, ...] = ("blob", "queue", "table")

_DEVELOPMENT_ACCOUNT = "devstoreaccount1"
# Microsoft publishes this key for the emulator; it opens nothing else.
_DEVELOPMENT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_DEVELOPMENT_PORTS: dict[Service, int] = {"blob": 10000, "queue": 10001, "table": 10002}


class ConnectionProblems(ValueError):  # noqa: N818 - it is a list of problems, each a sentence
    """The settings do not name a usable storage account; `problems` says why, a sentence each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


@dataclass(frozen=True, slots=True)
class StorageConnection:
    """One storage account: either `connection_string` is set, or the three service addresses are.

    `name` is the variable it came from. The connection string holds a key, so it is kept out of `repr`.
    """

    name: str
    connection_string: str | None = field(default=None, repr=False)
    blob_uri: str | None = None
    queue_uri: str | None = None
    table_uri: str | None = None
    client_id: str | None = None
    credential: str | None = None

    @property
    def is_identity(self) -> bool:
        """Whether a token is sent rather than a key."""
        return self.connection_string is None

    @property
    def is_managed_identity(self) -> bool:
        """Whether the settings ask for a managed identity and for nothing else."""
        return self.credential is not None or self.client_id is not None

    def uri(self, service: Service) -> str:
        """Give the address of one service of an identity-based connection."""
        found = {"blob": self.blob_uri, "queue": self.queue_uri, "table": self.table_uri}[service]
        if found is None:
            raise ConnectionProblems([f"`{self.name}__{service}ServiceUri` is not set"])
        return found


def connection_name(environ: Mapping[str, str]) -> str:
    """Tell which connection is in use: COST_STORAGE as soon as any variable of that name is set."""
    return OWN_NAME if _section(environ, OWN_NAME) else HOST_NAME


def storage_connection(environ: Mapping[str, str]) -> StorageConnection:
    """Read the storage connection in use.

    A connection string wins over the addresses beside it, and an account name over single addresses, as in
    the Functions host.

    Raises:
        ConnectionProblems: Nothing, or not enough, is set; every problem is listed at once.
    """
    name = connection_name(environ)
    section = _section(environ, name)
    if not section:
        raise ConnectionProblems(
            [f"no storage account: set `{OWN_NAME}` or `{OWN_NAME}__blobServiceUri` and its like"]
        )
    text = section.get("")
    if text is not None:
        return StorageConnection(name=name, connection_string=_checked_string(name, text))
    return _identity(name, section)


def development_string(ports: Mapping[Service, int] | None = None, host: str = "127.0.0.1") -> str:
    """Give the connection string of a storage emulator on this machine.

    The host is an address rather than `localhost`: the Tables client takes any port of localhost but 10002
    for a Cosmos DB emulator and then speaks another dialect.
    """
    chosen = _DEVELOPMENT_PORTS if ports is None else ports
    endpoints = "".join(
        f"{service.capitalize()}Endpoint=http://{host}:{chosen[service]}/{_DEVELOPMENT_ACCOUNT};"
        for service in SERVICES
    )
    key = f"AccountName={_DEVELOPMENT_ACCOUNT};AccountKey={_DEVELOPMENT_KEY};"
    return f"DefaultEndpointsProtocol=http;{key}{endpoints}"


def _section(environ: Mapping[str, str], name: str) -> dict[str, str]:
    """Collect the variables of one connection by their lower-case property; the plain name's is empty."""
    wanted = name.lower()
    found: dict[str, str] = {}
    for variable, value in environ.items():
        head, separator, prop = variable.lower().partition("__")
        if head == wanted and value.strip() and (prop or not separator):
            found[prop] = value.strip()
    return found


def _checked_string(name: str, text: str) -> str:
    """Give the connection string, spelled out where it stands for the emulator's; the value is never told."""
    pairs = [part.split("=", 1) for part in text.rstrip(";").split(";") if part.strip()]
    if any(len(pair) != 2 for pair in pairs):  # noqa: PLR2004 - a key and its value
        raise ConnectionProblems(
            [f"`{name}` is not a connection string: it must be made of `Key=Value;` parts"]
        )
    settings = {key.strip().lower(): value for key, value in pairs}
    if settings.get("usedevelopmentstorage", "").lower() == "true":
        return development_string()
    if "sharedaccesssignature" in settings:
        missing = [f"{s.capitalize()}Endpoint" for s in SERVICES if f"{s}endpoint" not in settings]
        named = "accountname" in settings
        problems = [] if named or not missing else [f"`{name}` lacks {', '.join(missing)}"]
    else:
        needed = [key for key in ("AccountName", "AccountKey") if not settings.get(key.lower())]
        problems = [f"`{name}` lacks {', '.join(needed)}"] if needed else []
    if problems:
        raise ConnectionProblems(problems)
    return text


def _identity(name: str, section: Mapping[str, str]) -> StorageConnection:
    account = section.get("accountname")
    uris: dict[Service, str | None] = {
        service: f"https://{account}.{service}.core.windows.net"
        if account
        else section.get(f"{service}serviceuri")
        for service in SERVICES
    }
    problems = [text for service, uri in uris.items() for text in _uri_problems(name, service, uri)]
    credential = section.get("credential")
    if credential is not None and credential.lower() != "managedidentity":
        problems.append(f"`{name}__credential` is `{credential}`; only `managedidentity` is known")
    if problems:
        raise ConnectionProblems(problems)
    return StorageConnection(
        name=name,
        blob_uri=uris["blob"],
        queue_uri=uris["queue"],
        table_uri=uris["table"],
        client_id=section.get("clientid"),
        credential=credential,
    )


def _uri_problems(name: str, service: Service, uri: str | None) -> list[str]:
    variable = f"`{name}__{service}ServiceUri`"
    if uri is None:
        return [f"{variable} is not set; an identity-based connection needs all three services"]
    parts = urlsplit(uri)
    if parts.scheme != "https" or not parts.hostname:
        return [f"{variable} must be an https address: a token is never sent in the clear"]
    if parts.query:
        return [f"{variable} must not carry a query: sign in by identity, not by a signature in the address"]
    return []
