"""The vocabulary of the synthetic tenant: meters, places and names, some of them awkward on purpose."""

from typing import NamedTuple


class Meter(NamedTuple):
    """A meter as the dimensions name it, with the price level of one day of it."""

    service: str
    category: str
    subcategory: str
    name: str
    resource_type: str
    price: float


METERS = (
    Meter(
        "Virtual Machines",
        "Virtual Machines",
        "Dv5 Series",
        "D4 v5",
        "microsoft.compute/virtualmachines",
        4.6,
    ),
    Meter(
        "Virtual Machines", "Virtual Machines", "BS Series", "B2s", "microsoft.compute/virtualmachines", 1.0
    ),
    Meter("Storage", "Storage", "Premium SSD", "P10 LRS Disk", "microsoft.compute/disks", 0.64),
    Meter(
        "Storage",
        "Storage",
        "Tiered Block Blob",
        "Hot LRS Data Stored",
        "microsoft.storage/storageaccounts",
        0.07,
    ),
    Meter("SQL Database", "SQL Database", "vCore Gen5", "vCore", "microsoft.sql/servers/databases", 9.1),
    Meter(
        "Bandwidth",
        "Bandwidth",
        "Inter-Region",
        "Data Transfer Out",
        "microsoft.network/publicipaddresses",
        0.02,
    ),
    Meter(
        "Azure Monitor",
        "Log Analytics",
        "",
        "Data Ingestion",
        "microsoft.operationalinsights/workspaces",
        2.76,
    ),
    Meter(
        "Functions", "Functions", "Flex Consumption", "On Demand Execution Time", "microsoft.web/sites", 0.003
    ),
    Meter(
        "Azure Cosmos DB", "Azure Cosmos DB", "", "100 RU/s", "microsoft.documentdb/databaseaccounts", 0.19
    ),
    Meter("Key Vault", "Key Vault", "", "Operations", "microsoft.keyvault/vaults", 0.00003),
)

LOCATIONS: tuple[str | None, ...] = ("westeurope", "EastUS", "germanywestcentral", "uksouth", "", None)

GROUPS = ("rg-data", "rg-web", "RG-Platform", "rg-büro", "mc_aks_prod_westeurope", "rg-ml")

NAMES = (
    "web",
    "sql-bücher",
    "lager",
    "データ",
    "übung",
    "api",
    'disk"quoted"',
    "naïve\\path",
    "emoji-🚀",
    "batch",
)

ENVIRONMENTS = ("prod", "test", "Entwicklung", "")
