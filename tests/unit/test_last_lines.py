"""The end of a log: read whole where it is short, asked for where it is long."""

from collections.abc import Generator, Sequence

from infra.engine.client import Engine
from infra.engine.last_lines import last_lines

MB = 1024 * 1024


class Written(Engine):
    """An engine of one log; `asked` is how many last lines it was asked for."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = pieces
        self.sent = 0
        self.asked: int | None = None

    def log_pieces(self, container: str, tail: int | None = None) -> Generator[bytes, None, None]:
        for piece in self.pieces:
            self.sent += 1
            yield piece

    def logs(self, container: str, tail: int | None = None) -> str:
        self.asked = tail
        return "by the engine\n"


def test_the_pieces_of_a_line_stay_in_their_order() -> None:
    engine = Written([b"first\npsql:", b"002_bad.sql:", b"2: ERROR\n", b"last"])
    assert last_lines(engine, "x", 2) == ("psql:002_bad.sql:2: ERROR", "last")
    assert engine.asked is None


def test_a_long_log_is_read_no_further_and_its_end_is_asked_for() -> None:
    engine = Written([b"x" * MB] * 100)
    assert last_lines(engine, "x", 60) == ("by the engine",)
    assert engine.asked == 60
    assert engine.sent == 9


def test_a_container_that_has_written_nothing_has_no_lines() -> None:
    assert last_lines(Written([]), "x", 60) == ()
