"""Which storage account the environment names, and what is wrong with it."""

import subprocess
import sys

import pytest

from shared.storage import ConnectionProblems, Storage, connection_name, storage_connection
from shared.storage.clients import Clients

KEYED = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net"
URIS = {
    "COST_STORAGE__blobServiceUri": "https://a.blob.core.windows.net",
    "COST_STORAGE__queueServiceUri": "https://a.queue.core.windows.net",
    "COST_STORAGE__tableServiceUri": "https://a.table.core.windows.net",
}


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "AzureWebJobsStorage"),
        ({"AzureWebJobsStorage": KEYED}, "AzureWebJobsStorage"),
        ({"AzureWebJobsStorage": KEYED, "COST_STORAGE": KEYED}, "COST_STORAGE"),
        ({"AzureWebJobsStorage": KEYED, "COST_STORAGE__clientId": "x"}, "COST_STORAGE"),
        ({"AzureWebJobsStorage": KEYED, "COST_STORAGE": " "}, "AzureWebJobsStorage"),
        ({"AzureWebJobsStorage": KEYED, "COST_STORAGE_OTHER": "x"}, "AzureWebJobsStorage"),
    ],
    ids=["none", "host", "own", "own by property", "own is blank", "another variable"],
)
def test_own_connection_wins_as_soon_as_any_of_it_is_set(environ: dict[str, str], name: str) -> None:
    assert connection_name(environ) == name


def test_connection_string_is_taken_and_never_shown() -> None:
    connection = storage_connection({"COST_STORAGE": KEYED})

    assert connection.connection_string == KEYED
    assert not connection.is_identity
    assert "c2VjcmV0" not in repr(connection)


def test_connection_string_wins_over_addresses_beside_it() -> None:
    """The Functions host decides so, and both must use one account."""
    assert storage_connection({**URIS, "COST_STORAGE": KEYED}).connection_string == KEYED


@pytest.mark.parametrize("text", ["UseDevelopmentStorage=true", "usedevelopmentstorage=True;"])
def test_development_storage_is_spelled_out_by_address(text: str) -> None:
    """`localhost` on another port would make the Tables client speak Cosmos DB's dialect."""
    spelled = storage_connection({"AzureWebJobsStorage": text}).connection_string

    assert spelled is not None
    assert "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;" in spelled


@pytest.mark.parametrize("own", [True, False], ids=["own", "host"])
def test_identity_is_read_whatever_the_case_of_its_names(own: bool) -> None:  # noqa: FBT001
    """The host reads them through .NET's configuration, which ignores case."""
    name = "cost_storage" if own else "AZUREWEBJOBSSTORAGE"
    environ = {variable.lower().replace("cost_storage", name): value for variable, value in URIS.items()}

    connection = storage_connection(environ)

    assert connection.is_identity
    assert not connection.is_managed_identity
    assert connection.uri("queue") == "https://a.queue.core.windows.net"


def test_client_id_asks_for_a_managed_identity() -> None:
    connection = storage_connection(
        {**URIS, "COST_STORAGE__clientId": "1-2", "COST_STORAGE__credential": "managedIdentity"}
    )

    assert connection.is_managed_identity
    assert connection.client_id == "1-2"


def test_account_name_stands_for_the_three_addresses() -> None:
    connection = storage_connection({"AzureWebJobsStorage__accountName": "acct"})

    assert [connection.uri(service) for service in ("blob", "queue", "table")] == [
        "https://acct.blob.core.windows.net",
        "https://acct.queue.core.windows.net",
        "https://acct.table.core.windows.net",
    ]


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, [["COST_STORAGE", "COST_STORAGE__blobServiceUri"]]),
        ({"COST_STORAGE": "secret"}, [["`COST_STORAGE`", "not a connection string"]]),
        ({"COST_STORAGE": "AccountName=a;X=secret"}, [["`COST_STORAGE`", "AccountKey"]]),
        ({"COST_STORAGE": "SharedAccessSignature=secret"}, [["`COST_STORAGE`", "BlobEndpoint"]]),
        (
            {"COST_STORAGE__blobServiceUri": "https://a.blob.core.windows.net"},
            [["COST_STORAGE__queueServiceUri"], ["COST_STORAGE__tableServiceUri"]],
        ),
        ({**URIS, "COST_STORAGE__blobServiceUri": "http://a"}, [["COST_STORAGE__blobServiceUri", "https"]]),
        ({**URIS, "COST_STORAGE__tableServiceUri": "https://a/?sig=secret"}, [["tableServiceUri", "query"]]),
        ({**URIS, "COST_STORAGE__credential": "key"}, [["COST_STORAGE__credential", "managedidentity"]]),
    ],
    ids=[
        "nothing",
        "no pairs",
        "no key",
        "signature",
        "part",
        "in the clear",
        "signed address",
        "credential",
    ],
)
def test_every_problem_names_its_variable_and_no_secret(
    environ: dict[str, str], words: list[list[str]]
) -> None:
    with pytest.raises(ConnectionProblems) as caught:
        storage_connection(environ)

    assert len(caught.value.problems) == len(words)
    for problem, expected in zip(caught.value.problems, words, strict=True):
        assert all(word in problem for word in expected), problem
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("properties", "credential"),
    [
        ({}, "DefaultAzureCredential"),
        ({"COST_STORAGE__credential": "managedidentity"}, "ManagedIdentityCredential"),
        ({"COST_STORAGE__clientId": "00000000-0000-0000-0000-000000000001"}, "ManagedIdentityCredential"),
    ],
    ids=["whoever runs it", "system-assigned", "user-assigned"],
)
async def test_identity_is_one_for_all_services(properties: dict[str, str], credential: str) -> None:
    clients = Clients(storage_connection({**URIS, **properties}))

    used = [clients.blobs().credential, clients.queues().credential, clients.tables().credential]
    await clients.close()

    assert {type(one).__name__ for one in used} == {credential}
    assert len({id(one) for one in used}) == 1


async def test_storage_that_was_never_used_closes() -> None:
    async with Storage(storage_connection(URIS)):
        pass


def test_import_brings_none_of_the_clients() -> None:
    """They take most of a second, which every cold start would pay."""
    code = "import sys, shared.storage; print({m.split('.')[0] for m in sys.modules} & {'azure', 'aiohttp'})"

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert shown.strip() == "set()"
