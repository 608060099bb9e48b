"""What the bindings are made of, read from the app settings when the functions are indexed."""

import os

from shared.connection import connection_name
from shared.plan.schedule import RECONCILE_SCHEDULE, SEED_SCHEDULE, SWEEP_SCHEDULE

CONNECTION = connection_name(os.environ)
"""The app setting (or prefix of settings) that the queue triggers connect with."""

SEED = os.environ.get("COST_SEED_SCHEDULE", SEED_SCHEDULE)
SWEEP = os.environ.get("COST_SWEEP_SCHEDULE", SWEEP_SCHEDULE)
RECONCILE = RECONCILE_SCHEDULE
