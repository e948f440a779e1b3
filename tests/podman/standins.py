"""Components that stand in for a product's, made of what a Debian has: a shell and Perl."""

from __future__ import annotations

from faults import script

POSTGRES = "docker.io/pgvector/pgvector:pg16"
HTTP = "[ports]\nhttp = 8080\n"
ASKED_FOR_HEALTH = '[ready]\nprobe = "http"\nport = "http"\npath = "/health"\n'


def serve(status: int = 200, *, at: str = "0.0.0.0:8080", first: str = "", body: str = "well") -> str:
    """The words of a command that answers every request; `first` are Perl statements before it listens."""
    answer = f"HTTP/1.0 {status} So\\r\\nContent-Length: {len(body) + 1}\\r\\n\\r\\n{body}\\n"
    return (
        "exec perl -MIO::Socket::INET -e '"
        f'{first} my $s = IO::Socket::INET->new(LocalAddr => "{at}", Listen => 9, ReuseAddr => 1) or die $@; '
        f'while (1) {{ my $c = $s->accept or next; sysread $c, $_, 4096; print $c "{answer}"; close $c }}\''
    )


def server(text: str, *, timeout: str = "60s", more: str = "", ports: str = HTTP) -> str:
    """A component that is asked for its health over HTTP."""
    return f'{script(text)}{ports}{ASKED_FOR_HEALTH}timeout = "{timeout}"\n{more}'


def job(text: str, *, timeout: str = "60s", image: str = "", more: str = "") -> str:
    """A component that has to end by itself."""
    named = f'image = "{image}"\n' if image else ""
    return f'{named}kind = "job"\n{script(text)}{more}\n[ready]\nprobe = "completed"\ntimeout = "{timeout}"\n'


def psql(statement: str, *, timeout: str = "60s", **env: str) -> str:
    """A job of one statement, against the stack's PostgreSQL; `env` is what psql is told otherwise."""
    known = {
        "PGHOST": "postgres",
        "PGUSER": "slm_user",
        "PGDATABASE": "action_history",
        "PGPASSWORD": "{postgres.secrets.password}",
        "PGCONNECT_TIMEOUT": "3",
        **env,
    }
    words = "[env]\n" + "".join(f'{key} = "{text}"\n' for key, text in known.items() if text)
    return job(f'psql -X -v ON_ERROR_STOP=1 -c "{statement}"', timeout=timeout, image=POSTGRES, more=words)
