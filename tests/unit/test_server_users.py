"""Users, sessions and limits of the service: promises of the door, with time as an argument."""

from datetime import UTC, datetime, timedelta

import argon2
import pytest
from sqlalchemy import create_engine, text

from igrt_hw.models.users import Role
from igrt_hw.server.sessions import (
    AGE_US_MAX,
    IDLE_US_MAX,
    SESSIONS_MAX,
    NoSessionError,
    RateLimit,
    Sessions,
    TooManySessionsError,
)
from igrt_hw.server.users import (
    DEMO_USERS,
    FAILURES_MAX,
    LOCK_FOR,
    LockedError,
    User,
    UserError,
    UserStore,
    WrongPasswordError,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CHEAP = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
ANNA = User("anna", "Anna", Role.THERAPIST, False)


@pytest.fixture
def engine(tmp_path):
    return create_engine(f"sqlite:///{tmp_path / 'store.sqlite'}")


@pytest.fixture
def store(engine):
    users = UserStore(engine, demo_users=False, hasher=CHEAP)
    users.add("anna", "Anna", Role.THERAPIST, "long enough 1")
    return users


def test_the_right_password_opens_and_the_wrong_one_does_not(store):
    assert store.verify("anna", "long enough 1", NOON).role is Role.THERAPIST
    with pytest.raises(WrongPasswordError):
        store.verify("anna", "long enough 2", NOON)


def test_an_unknown_name_gets_the_same_sentence_as_a_wrong_password(store):
    with pytest.raises(WrongPasswordError) as unknown:
        store.verify("nobody", "long enough 1", NOON)
    with pytest.raises(WrongPasswordError) as wrong:
        store.verify("anna", "wrong", NOON)
    assert str(unknown.value) == str(wrong.value)


def test_no_password_is_kept_in_the_store(store, engine):
    with engine.connect() as connection:
        rows = connection.execute(text("select * from users")).all()
    assert "long enough 1" not in repr(rows)
    assert "$argon2id$" in repr(rows)


def fail(store, times, at=NOON):
    for _ in range(times):
        with pytest.raises(WrongPasswordError):
            store.verify("anna", "wrong", at)


def test_repeated_failures_lock_even_the_right_password(store):
    fail(store, FAILURES_MAX)
    with pytest.raises(LockedError):
        store.verify("anna", "long enough 1", NOON)


def test_the_lock_ends_by_itself(store):
    fail(store, FAILURES_MAX)
    with pytest.raises(LockedError):
        store.verify("anna", "long enough 1", NOON + LOCK_FOR - timedelta(seconds=1))
    assert store.verify("anna", "long enough 1", NOON + LOCK_FOR).username == "anna"


def test_the_lock_survives_a_restart(store, engine):
    fail(store, FAILURES_MAX)
    again = UserStore(engine, demo_users=False, hasher=CHEAP)
    with pytest.raises(LockedError):
        again.verify("anna", "long enough 1", NOON)


def test_a_success_forgets_earlier_failures(store):
    fail(store, FAILURES_MAX - 1)
    store.verify("anna", "long enough 1", NOON)
    fail(store, FAILURES_MAX - 1)
    store.verify("anna", "long enough 1", NOON)


def test_demo_users_exist_only_when_asked_for(engine):
    demo = DEMO_USERS[0]
    without = UserStore(engine, demo_users=False, hasher=CHEAP)
    with pytest.raises(WrongPasswordError):
        without.verify(demo.username, demo.password, NOON)
    with_them = UserStore(engine, demo_users=True, hasher=CHEAP)
    assert with_them.verify(demo.username, demo.password, NOON).demo


def test_a_store_that_once_had_demo_users_does_not_let_them_in_later(engine):
    demo = DEMO_USERS[0]
    UserStore(engine, demo_users=True, hasher=CHEAP)
    later = UserStore(engine, demo_users=False, hasher=CHEAP)
    with pytest.raises(WrongPasswordError):
        later.verify(demo.username, demo.password, NOON)


def test_a_real_user_is_never_replaced_by_a_demo_user(engine):
    users = UserStore(engine, demo_users=False, hasher=CHEAP)
    users.add(DEMO_USERS[0].username, "A real person", Role.PHYSICIST, "long enough 1")
    with pytest.raises(UserError, match="real user"):
        UserStore(engine, demo_users=True, hasher=CHEAP)


def test_demo_passwords_are_accepted_by_the_rules_for_real_ones(engine):
    users = UserStore(engine, demo_users=False, hasher=CHEAP)
    for demo in DEMO_USERS:
        users.add(demo.username, demo.display_name, demo.role, demo.password)


@pytest.mark.parametrize(
    ("username", "password", "says"),
    [
        ("anna", "long enough 1", "already"),
        ("Anna", "long enough 1", "no user name"),
        ("a" * 40, "long enough 1", "no user name"),
        ("bert", "short", "characters"),
        ("bert", "x" * 300, "characters"),
    ],
)
def test_a_user_that_cannot_be_is_refused_with_the_reason(store, username, password, says):
    with pytest.raises(UserError, match=says):
        store.add(username, "Somebody", Role.THERAPIST, password)


def test_an_idle_session_ends():
    sessions = Sessions()
    token = sessions.open(ANNA, 0)
    sessions.use(token, IDLE_US_MAX)
    sessions.use(token, 2 * IDLE_US_MAX)
    with pytest.raises(NoSessionError):
        sessions.use(token, 3 * IDLE_US_MAX + 1)


def test_looking_does_not_keep_a_session_open():
    sessions = Sessions()
    token = sessions.open(ANNA, 0)
    sessions.look(token, IDLE_US_MAX)
    with pytest.raises(NoSessionError):
        sessions.look(token, IDLE_US_MAX + 1)


def test_a_busy_session_ends_with_the_shift():
    sessions = Sessions()
    token = sessions.open(ANNA, 0)
    for now in range(0, AGE_US_MAX + 1, IDLE_US_MAX):
        sessions.use(token, now)
    with pytest.raises(NoSessionError):
        sessions.use(token, AGE_US_MAX + 1)


def test_the_second_person_leaves_with_the_first():
    sessions = Sessions()
    first = sessions.use(sessions.open(ANNA, 0), 0)
    second = sessions.open(User("bert", "Bert", Role.PHYSICIST, False), 0, parent=first)
    sessions.use(second, 1)
    sessions.close(first)
    with pytest.raises(NoSessionError):
        sessions.use(second, 2)


def test_no_token_is_held_in_memory():
    sessions = Sessions()
    token = sessions.open(ANNA, 0)
    assert token not in repr(sessions._open)


def test_the_number_of_sessions_is_limited_and_ended_ones_make_room():
    sessions = Sessions()
    for _ in range(SESSIONS_MAX):
        sessions.open(ANNA, 0)
    with pytest.raises(TooManySessionsError):
        sessions.open(ANNA, 0)
    sessions.open(ANNA, IDLE_US_MAX + 1)


def test_a_rate_limit_refuses_the_burst_and_refills():
    limit = RateLimit(burst=3, per_second=1)
    assert [limit.allows("a", 0) for _ in range(4)] == [True, True, True, False]
    assert limit.allows("b", 0)
    assert not limit.allows("a", 900_000)
    assert limit.allows("a", 1_000_000)
    assert not limit.allows("a", 1_000_000)


def test_the_rate_limit_forgets_those_who_have_been_quiet():
    limit = RateLimit(burst=3, per_second=1)
    for key in range(2000):
        limit.allows(str(key), 0)
    limit.allows("last", 60_000_000)
    assert len(limit._level) <= 2
