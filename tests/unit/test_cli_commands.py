"""The command line: one sentence and an exit code, never a traceback; and what each command promises."""

import sqlite3
import stat
import sys

import pytest

from igrt_hw import cli
from igrt_hw.commands.operate import OperateError
from igrt_hw.records import RecordStore


@pytest.fixture
def igrt(monkeypatch, capsys, tmp_path):
    """Run `igrt` in this process; returns exit code, standard output and standard error."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("IGRT_DEBUG", "IGRT_TOKEN", "IGRT_URL", "IGRT_STORE", "IGRT_PASSWORD"):
        monkeypatch.delenv(name, raising=False)

    def run(*words, env=None):
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["igrt", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            monkeypatch.delenv("IGRT_DEBUG", raising=False)
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_an_error_is_one_sentence_and_exit_1(igrt):
    code, out, err = igrt("status")
    assert code == 1
    assert out == ""
    assert err == "igrt: nobody is signed in here; run `igrt login` first\n"


def test_debug_shows_the_traceback_too(igrt):
    code, _, err = igrt("--debug", "status")
    assert code == 1
    assert "Traceback" in err
    assert err.endswith("igrt: nobody is signed in here; run `igrt login` first\n")


def test_a_defect_is_named_as_one_with_its_own_exit_code(igrt, monkeypatch):
    def broken(*_arguments):
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("igrt_hw.commands.operate.signed_in_client", broken)
    code, _, err = igrt("status")
    assert code == cli.EXIT_DEFECT
    assert "Traceback" not in err
    assert "igrt has a defect: ZeroDivisionError: oh" in err
    assert "--debug" in err


def test_every_error_of_this_package_is_told_as_its_own_sentence():
    assert cli.sentence_of(OperateError("say this")) == ("say this", cli.EXIT_FAILED)
    assert cli.sentence_of(FileNotFoundError(2, "No such file or directory", "plan.dcm")) == (
        "plan.dcm: No such file or directory",
        cli.EXIT_FAILED,
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "give --couch, --imager and --pendant"),
        (("--couch", "a", "--imager", "b"), "give --couch, --imager and --pendant"),
        (("--endpoints", "nowhere.json"), "is the simulator running"),
        (("--endpoints", "x", "--couch", "a"), "either --endpoints or the three ports"),
    ],
)
def test_serve_says_what_it_needs(igrt, words, says):
    code, _, err = igrt("serve", *words)
    assert code == 1
    assert says in err


PORTS = ("--couch", "a", "--imager", "b", "--pendant", "c")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--host", "0.0.0.0"), "not the loopback"),
        (("--host", "192.168.1.5", "--tls-certificate", "c.pem"), "both a certificate and a key"),
        (("--demo-users",), "refused on real devices"),
        (
            (
                "--simulator", "--demo-users", "--host", "10.0.0.1",
                "--tls-certificate", "c.pem", "--tls-key", "k.pem",
            ),
            "public passwords",
        ),
    ],
)  # fmt: skip
def test_serve_refuses_what_is_not_safe(igrt, words, says):
    code, _, err = igrt("serve", *PORTS, *words)
    assert code == 1
    assert says in err


def test_a_user_is_added_once_and_listed_without_a_password(igrt):
    words = ("user", "add", "anna", "--role", "therapist", "--name", "Anna")
    env = {"IGRT_NEW_PASSWORD": "long enough 1"}
    assert igrt(*words, env=env)[0] == 0
    code, _, err = igrt(*words, env=env)
    assert code == 1
    assert "already a user" in err
    code, out, _ = igrt("user", "list")
    assert code == 0
    assert "anna" in out
    assert "long enough" not in out


def test_a_short_password_is_refused(igrt):
    code, _, err = igrt(
        "user", "add", "anna", "--role", "therapist", "--name", "Anna",
        env={"IGRT_NEW_PASSWORD": "short"},
    )  # fmt: skip
    assert code == 1
    assert "characters" in err


@pytest.fixture
def store(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    with RecordStore(folder / "record.sqlite") as record:
        for number in range(5):
            record.append(
                "note", "anna", f"entry {number}", {"n": number}, number, "2026-01-01T00:00:00Z"
            )
    return folder


def test_audit_verifies_a_whole_record(igrt, store):
    code, out, _ = igrt("audit", "verify", "--store", store)
    assert code == 0
    assert "the record verifies: 5 entries" in out


def test_audit_finds_an_edited_entry(igrt, store):
    with sqlite3.connect(store / "record.sqlite") as connection:
        connection.execute("DROP TRIGGER entries_no_update")
        connection.execute("UPDATE entries SET text = 'nothing happened' WHERE sequence = 3")
    code, out, _ = igrt("audit", "verify", "--store", store)
    assert code == 1
    assert "does NOT verify: entry 3" in out


def test_audit_shows_what_was_asked_for(igrt, store):
    code, out, _ = igrt("audit", "show", "--store", store, "--last", "2", "--data")
    assert code == 0
    assert "entry 3" in out
    assert "entry 4" in out
    assert "entry 2" not in out
    assert '{"n": 4}' in out


def test_audit_exports_the_chain_and_never_over_a_file(igrt, store, tmp_path):
    target = tmp_path / "out.jsonl"
    assert igrt("audit", "export", target, "--store", store)[0] == 0
    assert len(target.read_text().splitlines()) == 5
    code, _, err = igrt("audit", "export", target, "--store", store)
    assert code == 1
    assert "File exists" in err


def test_audit_without_a_record_says_so(igrt, tmp_path):
    code, _, err = igrt("audit", "verify", "--store", tmp_path / "none")
    assert code == 1
    assert "there is no record here" in err


def test_a_session_file_belongs_to_its_owner_only(igrt, tmp_path, monkeypatch):
    from igrt_hw.client import Client
    from igrt_hw.models.users import Role, SignedIn

    def login(self, username, password):
        return SignedIn(
            token="secret", username=username, display_name="Anna", role=Role.THERAPIST,
            expires_utc="2026-01-01T00:00:00Z",
        )  # fmt: skip

    monkeypatch.setattr(Client, "login", login)
    code, out, _ = igrt("login", "anna", env={"IGRT_PASSWORD": "long enough 1"})
    assert code == 0
    assert "secret" not in out
    file = tmp_path / "state" / "igrt-hw" / "session.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("fly",), "fly"),
        (("open_patient", "plan_uid=1"), "patient_id"),
        (("open_patient", "plan_uid"), "not of the form field=value"),
        (("stop", "extra=1"), "extra"),
    ],
)
def test_a_command_that_cannot_be_understood_says_why(igrt, words, says):
    code, _, err = igrt("command", *words)
    assert code == 1
    assert says in err


def test_a_terminal_without_follow_is_refused(igrt):
    code, _, err = igrt("status", "--terminal", "console-1")
    assert code == 1
    assert "needs --follow" in err


def test_the_demo_needs_a_terminal(igrt):
    code, _, err = igrt("demo")
    assert code == 1
    assert "igrt demo --script" in err


def test_doctor_answers_every_question(igrt):
    code, out, _ = igrt("doctor")
    assert code == 0
    assert "golden vectors: 7 agree" in out
    assert "record: none yet" in out


def test_bench_refuses_a_figure_that_there_is_not(igrt):
    code, _, err = igrt("bench", "elegance")
    assert code == 1
    assert "no figure elegance; there are" in err
