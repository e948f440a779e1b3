"""Ask once: is a component ready, and if not, why. Loops, sleeps and deadlines live in `readiness`.

All probes speak the component's own protocol to its published port on 127.0.0.1. An exec through the API would cost
0.1 s a poll and leave processes behind, and under rootless a bare TCP connect succeeds although nothing serves.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from typing import Any, assert_never

import requests

from infra.engine.types import HOST, ContainerState
from infra.model import CompletedProbe, HttpProbe, PostgresProbe, ProbeSpec, RedisProbe

_CALL_S = 2.0
_CHUNK = 1024
_LONGEST = 64 * 1024


def check(probe: ProbeSpec, ports: Mapping[str, int], state: ContainerState) -> str | None:
    """Return None when ready, else why not, in words. `ports` maps the component's port names to host ports."""
    match probe:
        case PostgresProbe():
            return _postgres(probe, ports[probe.port])
        case RedisProbe():
            return _redis(ports[probe.port])
        case HttpProbe():
            return _http(probe, ports[probe.port])
        case CompletedProbe():
            return None if state.dead and state.exit_code == 0 else "still running"
        case _:
            assert_never(probe)


# What a PostgreSQL or a Redis that is up says to a client that will never be let in.
_FINAL = re.compile(
    r'FATAL:\s+(?:role|database) "[^"]*" does not exist|FATAL:\s+password authentication failed|FATAL:\s+no pg_hba.conf'
    r"|PING answered -(?:DENIED|NOAUTH|NOPERM|WRONGPASS)"
)

_ANSWER = re.compile(r"FATAL:| answered ")


def is_answer(reason: str) -> bool:
    """Whether that is what the server itself says: that it starts, is busy, or refuses; it does not hang."""
    return _ANSWER.search(reason) is not None


def is_final(reason: str) -> bool:
    """Whether no time will change that answer: the server is up, and refuses what the catalogue declares."""
    return _FINAL.search(reason) is not None


def _postgres(probe: PostgresProbe, port: int) -> str | None:
    """The entrypoint's temporary server listens on the unix socket only, so an answer over TCP is the real one's."""
    import psycopg  # noqa: PLC0415 - 0.1 s, for which there is time while the server starts

    try:
        with psycopg.connect(**_address(probe, port)) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        return lines[0] if lines else type(error).__name__
    return None


def _address(probe: PostgresProbe, port: int) -> dict[str, Any]:
    return {
        "host": HOST,
        "port": port,
        "dbname": probe.database,
        "user": probe.user,
        "password": probe.password,
        "connect_timeout": int(_CALL_S),
        "options": f"-c statement_timeout={int(_CALL_S * 1000)}",
        "tcp_user_timeout": int(_CALL_S * 1000),
        "sslmode": "disable",
    }


_HOLDERS = """
SELECT DISTINCT holder.pid, holder.usename, holder.application_name, host(holder.client_addr), holder.state,
       left(regexp_replace(holder.query, '\\s+', ' ', 'g'), 80)
FROM pg_stat_activity AS waiter, unnest(pg_blocking_pids(waiter.pid)) AS blocker
JOIN pg_stat_activity AS holder ON holder.pid = blocker
WHERE %(address)s::inet IS NULL OR waiter.client_addr = %(address)s::inet
ORDER BY holder.pid LIMIT 5
"""


def lock_holders(probe: PostgresProbe, port: int, address: str | None) -> tuple[str, ...]:
    """Return who holds the locks that a client waits for, in words, or any client; none where it cannot be asked."""
    import psycopg  # noqa: PLC0415 - as above

    try:
        with psycopg.connect(**_address(probe, port)) as connection:
            rows = connection.execute(_HOLDERS, {"address": address}).fetchall()
    except psycopg.Error:
        return ()
    return tuple(
        f"process {pid} of {user} ({' '.join(filter(None, (app, client)))}; {state}; {query!r})"
        for pid, user, app, client, state, query in rows
    )


def flush_redis(port: int, *, whole: bool) -> str | None:
    """Empty all databases of a Redis, or number 0 alone, which services use; return why not, or None."""
    return _redis(port, "FLUSHALL" if whole else "FLUSHDB", b"+OK")


def _redis(port: int, command: str = "PING", wanted: bytes = b"+PONG") -> str | None:
    try:
        with socket.create_connection((HOST, port), timeout=_CALL_S) as connection:
            connection.sendall(f"{command}\r\n".encode())
            answer = connection.recv(_CHUNK)
    except OSError as error:
        return f"{command}: {error}"
    if answer.startswith(wanted):
        return None
    said = answer.partition(b"\r\n")[0].decode("utf-8", "replace")
    return f"{command} answered {said}" if said.isprintable() and said else f"{command} answered {answer[:40]!r}"


def _http(probe: HttpProbe, port: int) -> str | None:
    url = f"http://{HOST}:{port}{probe.path}"
    try:
        with requests.Session() as session:
            session.trust_env = False
            with session.get(url, timeout=_CALL_S, allow_redirects=False, stream=True) as answer:
                text = _read(answer)
    except requests.RequestException as error:
        return f"GET {url}: {_short(error)}"
    if answer.status_code != probe.status:
        return f"GET {url} answered {answer.status_code}: {text[:120].strip()}"
    if _packed(probe.body) not in _packed(text):
        return f"GET {url} answered {answer.status_code} without {probe.body}: {text[:120].strip()}"
    return None


def _read(answer: requests.Response) -> str:
    """Read a body within the time and size that an answer to a health check has; requests' timeout is one a read."""
    deadline = time.monotonic() + _CALL_S
    body = b""
    for chunk in answer.iter_content(_CHUNK):
        body += chunk
        if len(body) >= _LONGEST or time.monotonic() > deadline:
            break
    return body.decode("utf-8", "replace")


def _packed(text: str) -> str:
    """JSON says the same with and without blanks after `:` and `,`."""
    return text.replace(": ", ":").replace(", ", ",")


def _short(error: BaseException) -> str:
    """The innermost reason: requests wraps urllib3 wraps the socket's own error."""
    inner: BaseException = error
    while (nested := inner.__cause__ or inner.__context__) is not None:
        inner = nested
    return str(inner) or type(inner).__name__
