"""A breaker tells callers at once that nobody answers, and finds out once a second whether that is over."""

from shared.platform.breaker import PROBE_INTERVAL_S, Breaker


class Seconds:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def opened() -> tuple[Breaker, Seconds]:
    seconds = Seconds()
    breaker = Breaker(clock=seconds)
    breaker.failed(began=seconds.now)
    return breaker, seconds


def test_at_first_everything_passes() -> None:
    breaker = Breaker()
    assert not breaker.is_open
    assert not breaker.probe_is_due
    assert all(breaker.lets_through() for _ in range(5))


def test_after_a_failure_nothing_passes_for_a_while() -> None:
    breaker, seconds = opened()
    assert breaker.is_open
    seconds.now += PROBE_INTERVAL_S - 0.001
    assert not breaker.probe_is_due
    assert not breaker.lets_through()


def test_then_one_call_passes_in_each_interval() -> None:
    breaker, seconds = opened()
    for _ in range(3):
        seconds.now += PROBE_INTERVAL_S
        assert breaker.probe_is_due
        assert [breaker.lets_through() for _ in range(3)] == [True, False, False]


def test_a_failed_probe_keeps_it_open() -> None:
    breaker, seconds = opened()
    seconds.now += PROBE_INTERVAL_S
    assert breaker.lets_through()
    breaker.failed(began=seconds.now)
    assert not breaker.lets_through()


def test_the_first_success_closes_it() -> None:
    breaker, seconds = opened()
    seconds.now += PROBE_INTERVAL_S
    breaker.succeeded()
    assert not breaker.is_open
    assert [breaker.lets_through() for _ in range(3)] == [True] * 3


def test_the_failure_of_a_call_that_began_before_the_last_success_is_old_news() -> None:
    breaker, seconds = opened()
    began = seconds.now
    seconds.now += 4
    breaker.succeeded()
    seconds.now += 0.1
    breaker.failed(began=began)
    assert not breaker.is_open
    breaker.failed(began=seconds.now)
    assert breaker.is_open
