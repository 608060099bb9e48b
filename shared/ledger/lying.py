"""What lies in the container of published files, day by day, whoever put it there."""

from datetime import date

from shared.storage.blobs import Blobs


async def lying(
    blobs: Blobs, container: str, metric: str, first: date, last: date
) -> dict[date, dict[str, str]]:
    """List the files of the days from `first` to `last`: their ETags by name; a day without any is absent.

    One listing for each month (or day, where there is only one) and kind of file: a call for each day would be
    thirty times as many.
    """
    found: dict[date, dict[str, str]] = {}
    for month in _months(first, last) if first < last else [first.isoformat()]:
        for prefix in (
            f"ledger/metric={metric}/usage_date=",
            f"daily/metric={metric}/usage_date=",
            f"manifests/metric={metric}/",
        ):
            for item in await blobs.list(container, f"{prefix}{month}"):
                try:
                    day = date.fromisoformat(item.name.removeprefix(prefix)[:10])
                except ValueError:
                    # No file of ours has such a name.
                    continue
                if first <= day <= last:
                    found.setdefault(day, {})[item.name] = item.etag
    return found


def _months(first: date, last: date) -> list[str]:
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [f"{number // 12:04d}-{number % 12 + 1:02d}" for number in numbers]
