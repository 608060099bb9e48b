"""What the command line takes, and what it refuses before anything is opened."""

from datetime import UTC, date, datetime

import pytest

from shared.cli import logs
from shared.cli.arguments import COMMANDS, Asked, UsageError, parse
from shared.cli.instants import instant_text, parse_instant
from shared.cli.program import main
from shared.reconcile.periods import Period
from shared.scope_list import scopes_named
from shared.settings import load

TODAY = date(2026, 5, 20)
ONE = "/subscriptions/AAAAAAAA-0000-0000-0000-000000000001"
TWO = "/subscriptions/bbbbbbbb-0000-0000-0000-000000000002"


def test_every_command_takes_json_and_verbose() -> None:
    times = ["--from", "2026-05-01", "--to", "2026-05-02"]
    needs = {"backfill": times, "changes": times, "as-of": ["2026-05-01"]}
    for command in COMMANDS:
        asked = parse([command, "--json", "--verbose", *needs.get(command, [])], TODAY)
        assert (asked.command, asked.json, asked.verbose) == (command, True, True)


def test_a_run_without_options_leaves_days_and_scopes_to_the_settings() -> None:
    assert parse(["run"], TODAY) == Asked(command="run")


def test_scopes_may_follow_one_option_or_several() -> None:
    asked = parse(["run", "--scope", ONE, TWO, "--accept-vanished", "--scope", "/x"], TODAY)
    assert asked.scopes == (ONE, TWO, "/x")
    assert asked.accept_vanished


def test_a_month_is_its_days() -> None:
    assert parse(["reconcile", "--month", "2026-02"], TODAY).month == Period(
        date(2026, 2, 1), date(2026, 2, 28)
    )
    assert parse(["reconcile"], TODAY).month is None


def test_today_is_the_last_day_that_can_be_asked_for() -> None:
    asked = parse(["days", "--from", "2026-05-20", "--to", "2026-05-20"], TODAY)
    assert asked.days == (TODAY, TODAY)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        pytest.param("2026-05-20", datetime(2026, 5, 20, tzinfo=UTC), id="a_day_is_its_midnight"),
        pytest.param("2026-05-20T04:00", datetime(2026, 5, 20, 4, tzinfo=UTC), id="without_a_zone_it_is_utc"),
        pytest.param("2026-05-20T04:00Z", datetime(2026, 5, 20, 4, tzinfo=UTC), id="utc"),
        pytest.param("2026-05-20T04:00:30+02:00", datetime(2026, 5, 20, 2, 0, 30, tzinfo=UTC), id="a_zone"),
        pytest.param("2026-01-01T00:30+01:00", datetime(2025, 12, 31, 23, 30, tzinfo=UTC), id="another_year"),
        pytest.param(
            "2026-05-20T04:00:00.25Z", datetime(2026, 5, 20, 4, 0, 0, 250_000, tzinfo=UTC), id="a_fraction"
        ),
    ],
)
def test_a_time_is_utc_unless_it_says_otherwise(said: str, meant: datetime) -> None:
    asked = parse(["as-of", said, "--from", "2026-05-01", "--to", "2026-05-20"], TODAY)
    assert asked == Asked(command="as-of", at=meant, days=(date(2026, 5, 1), TODAY))
    assert asked.at is not None
    assert asked.at.tzinfo is UTC
    assert parse_instant(instant_text(meant)) == meant


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        pytest.param([], "name a command: run, backfill, status, days, as-of, changes, ", id="no_command"),
        pytest.param(["publish"], "choose from", id="no_such_command"),
        pytest.param(["run", "--from", "2026-05-01"], "--from needs --to", id="no_to"),
        pytest.param(["run", "--to", "2026-05-01"], "--to needs --from", id="no_from"),
        pytest.param(["backfill", "--to", "2026-05-01"], "required: --from", id="backfill_needs_both"),
        pytest.param(
            ["verify", "--from", "2026-05-02", "--to", "2026-05-01"],
            "before the first, 2026-05-02",
            id="reversed",
        ),
        pytest.param(
            ["as-of", "2026-05-01", "--from", "0001-01-01", "--to", "2026-05-01"],
            "the first day that can be asked for is 2010-01-01",
            id="before_azure",
        ),
        pytest.param(
            ["days", "--from", "2026-05-02", "--to", "2026-05-21"], "is today, 2026-05-20 (UTC)", id="future"
        ),
        pytest.param(
            ["backfill", "--from", "2023-04-19", "--to", "2026-05-02"],
            "keeps 37 months, now from 2023-04-20 on",
            id="beyond_37_months",
        ),
        pytest.param(
            ["run", "--from", "5/1/26", "--to", "2026-05-02"], "write it as YYYY-MM-DD", id="no_day"
        ),
        pytest.param(
            ["run", "--from", "2026-02-30", "--to", "2026-05-02"], "no day of the calendar", id="feb_30"
        ),
        pytest.param(["as-of"], "required: TIME", id="as_of_needs_a_time"),
        pytest.param(["as-of", "yesterday"], "write it as YYYY-MM-DD (its midnight)", id="no_time"),
        pytest.param(["as-of", "2026-05-20T4:00Z"], "write it as YYYY-MM-DD", id="no_time_of_day"),
        pytest.param(["as-of", "2026-02-30T04:00Z"], "no time of the calendar", id="feb_30_at_four"),
        pytest.param(["as-of", "2026-05-20T24:30Z"], "no time of the calendar", id="half_past_24"),
        pytest.param(["as-of", "1999-12-31T23:59Z"], "is before 2000-01-01", id="before_the_cloud"),
        pytest.param(
            ["as-of", "0001-01-01T00:00+14:00"], "no time of the calendar", id="before_the_calendar"
        ),
        pytest.param(["as-of", "2026-05-20", "--from", "2026-05-01"], "--from needs --to", id="half_a_range"),
        pytest.param(["changes"], "required: --from, --to", id="changes_needs_both"),
        pytest.param(["changes", "--from", "2026-05-01"], "required: --to", id="changes_needs_an_end"),
        pytest.param(
            ["changes", "--from", "2026-05-02", "--to", "2026-05-02T02:00+02:00"],
            "--to 2026-05-02T00:00:00Z is not after --from 2026-05-02T00:00:00Z",
            id="one_instant",
        ),
        pytest.param(["status", "--scope", ONE], "unrecognized arguments", id="an_option_of_another"),
        pytest.param(
            ["reconcile", "--month", "2026-5"],
            "--month '2026-5' is no month: give a month from 2023-05 to 2026-05, as YYYY-MM",
            id="no_month",
        ),
        pytest.param(
            ["reconcile", "--month", "2023-04"],
            "too long ago: the service keeps 37 months",
            id="too_long_ago",
        ),
        pytest.param(["reconcile", "--month"], "expected one argument", id="month_without_a_value"),
        pytest.param(["run", "--acc"], "unrecognized arguments: --acc", id="no_abbreviations"),
        pytest.param(["run", "--scope"], "expected at least one argument", id="scope_without_a_value"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_and_exits_with_1(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not with argparse's own 2, which here means that days are not reconciled."""
    with pytest.raises(UsageError) as refused:
        parse(argv, TODAY)
    assert says in str(refused.value)

    # GIVEN the same as a program, in whose message only what depends on today may differ
    code = main(argv, {})
    printed = capsys.readouterr()
    assert (code, printed.out) == (1, "")
    dated = ("in the future", "37 months", "give a month from")
    if not any(words in str(refused.value) for words in dated):
        assert printed.err == f"error: {refused.value}\n"


def test_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parse(["--help"], TODAY)
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)
    assert "exit codes: 0" in printed


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave this process's loggers alone: they are those of other tests too."""
    monkeypatch.setattr(logs, "to_stderr", lambda *, wanted: None)


@pytest.mark.usefixtures("quiet")
def test_wrong_settings_are_all_listed_in_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["status"], {"COST_PAGE_SIZE": "0", "COST_LOOKBAK_DAYS": "3"})
    printed = capsys.readouterr()
    assert (code, printed.out) == (1, "")
    for name in ("COST_SCOPES", "COST_PAGE_SIZE", "COST_LOOKBAK_DAYS", "COST_STORAGE"):
        assert f"`{name}`" in printed.err
    assert "Traceback" not in printed.err


def test_scopes_are_found_in_any_casing_and_as_the_settings_write_them() -> None:
    settings = load({"COST_SCOPES": f"{ONE},{TWO}"})
    found = scopes_named(settings.scopes, (ONE.lower(), TWO.upper() + "/", ONE))
    assert [scope.path for scope in found] == [ONE, TWO]


@pytest.mark.parametrize("path", ["/subscriptions/other", "nonsense", "https://evil.example/subscriptions/x"])
def test_a_scope_outside_the_settings_is_refused_with_those_inside(path: str) -> None:
    with pytest.raises(ValueError, match="is none of") as refused:
        scopes_named(load({"COST_SCOPES": f"{ONE},{TWO}"}).scopes, (path,))
    assert str(refused.value) == f"{path} is none of `COST_SCOPES`, which are: {ONE}, {TWO}"
