"""Cost Ledger's engine: every row of a company's Azure cost, once, exact, proven and published as Parquet.

The rooms follow the way of the data: `plan` seeds runs, `read` fetches and proves pages, `normalise` makes
records of them, `registry` remembers what was seen, `ledger` publishes days. Nothing in here knows Azure
Functions; `functions/` and `shared.cli` are its two doors.
"""
