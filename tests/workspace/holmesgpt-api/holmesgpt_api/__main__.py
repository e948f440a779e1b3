"""`python -m holmesgpt_api`: serve on HOST and PORT until SIGTERM."""

import os
import signal
import sys

import uvicorn

from holmesgpt_api.app import create_app
from holmesgpt_api.settings import Settings


def main() -> None:
    """Serve; SIGTERM ends with 0 once requests are answered and the audit trail is written."""
    # Uvicorn raises the signal again when it has shut down: its default action would end us with 143.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = Settings.of(os.environ)
    except ValueError as error:
        sys.exit(f"holmesgpt-api: {error}")
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level="info",
        access_log=False,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
