"""The usageDetails API of Consumption: where it is asked.

Source: Consumption REST API 2024-08-01, Usage Details - List. A Microsoft Customer Agreement takes `startDate` and
`endDate`, older agreements a `$filter` on `properties/usageStart` and `properties/usageEnd`; both ends are inclusive.
The names of meters come with legacy records only where they are asked for (`$expand`). A nextLink is followed by
GET, whole and unchanged: it carries a session of the service's.
"""

from datetime import date
from urllib.parse import quote, urlencode

from shared.read.billing_period import period_name
from shared.scope_list import Period

API_VERSION = "2024-08-01"
LARGEST_PAGE = 1000


def first_url(
    endpoint: str, scope: str, metric: str, period: Period, window: tuple[date, date], top: int
) -> str:
    """Give the URL of a generation's first page.

    `window` has the first and the last day, of one month: a billing period is asked for whole, by that month's name.
    """
    first, last = (day.isoformat() for day in window)
    said = {"api-version": API_VERSION, "metric": metric.lower(), "$top": str(top)}
    where = scope
    match period:
        case Period.DATES:
            said |= {"startDate": first, "endDate": last}
        case Period.FILTER:
            days = f"properties/usageStart ge '{first}' and properties/usageEnd le '{last}'"
            said |= {"$expand": "properties/meterDetails", "$filter": days}
        case Period.BILLING_PERIOD:
            said |= {"$expand": "properties/meterDetails"}
            where = f"{scope}/providers/Microsoft.Billing/billingPeriods/{period_name(window[0])}"
    query = urlencode(said, quote_via=quote, safe="$/'")
    return f"{endpoint}{where}/providers/Microsoft.Consumption/usageDetails?{query}"
