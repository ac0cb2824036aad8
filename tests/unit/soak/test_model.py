"""The random walk's model finds each event that is missing, and each that is too many."""

from __future__ import annotations

from collections import Counter

from scripts.soak.model import KILLED, STOPPED, EventKey, Life, Model


def _living(model: Model, surface: str = "normal") -> Life:
    life = Life(model.next_id("s"), surface, "native", "s-1")
    model.lives[life.id] = life
    model.caused(life, "create")
    return life


def test_the_events_that_were_caused_are_as_the_model_says() -> None:
    model = Model()
    life = _living(model)
    model.ended(life, KILLED)
    assert life.status == STOPPED
    seen = Counter([EventKey("create", life.id), EventKey("exit", life.id, status=KILLED)])
    assert model.disagreements(seen) == []


def test_a_missing_doubled_or_different_event_is_reported() -> None:
    model = Model()
    life = _living(model)
    model.ended(life, 3)
    seen = Counter({EventKey("create", life.id): 2, EventKey("exit", life.id, status=4): 1})
    assert model.disagreements(seen) == [
        "missing event: exit of s-1 status 3",
        "unexpected event: create of s-1",
        "unexpected event: exit of s-1 status 4",
    ]


def test_an_event_while_nobody_listens_may_be_missing() -> None:
    model = Model()
    life = _living(model)
    model.ended(life, KILLED, surely=False)
    created = Counter([EventKey("create", life.id)])
    assert model.disagreements(created) == []
    assert model.disagreements(created + Counter([EventKey("exit", life.id, status=KILLED)])) == []


def test_the_command_line_causes_no_events() -> None:
    model = Model()
    model.ended(_living(model, "command"), KILLED)
    assert model.disagreements(Counter()) == []
