"""The function app: registers what `functions/` holds."""

import azure.functions as func

from functions import backfill, fetch_page, orchestrate, publish_day, reconcile, seed, sweep

app = func.FunctionApp()
for part in (seed, fetch_page, orchestrate, publish_day, sweep, reconcile, backfill):
    app.register_functions(part.blueprint)
