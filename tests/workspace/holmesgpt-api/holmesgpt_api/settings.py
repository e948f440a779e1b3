"""What the environment says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FAULTS = ("forget-recoveries", "overconfident", "plain-errors", "repeat-workflow")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The service's configuration. Without `mock_llm` and without `llm_url` nothing can be investigated."""

    mock_llm: bool = False
    llm_url: str = ""
    data_storage_url: str = ""
    """Empty: no audit trail."""
    host: str = "0.0.0.0"
    port: int = 8080
    fault: str = ""
    """One behaviour to break on purpose, so that a suite can be seen to fail."""

    def __post_init__(self) -> None:
        if self.fault and self.fault not in FAULTS:
            raise ValueError(f'HOLMESGPT_API_FAULT: "{self.fault}" is not one of: {", ".join(FAULTS)}')

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Settings:
        """Read the environment. Raises `ValueError` with the variable's name."""
        port = environ.get("PORT") or "8080"
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f'PORT: "{port}" is not a port, 1 to 65535')
        mock = environ.get("MOCK_LLM") or "false"
        if mock not in ("true", "false"):
            raise ValueError(f'MOCK_LLM: "{mock}" is neither "true" nor "false"')
        return cls(
            mock_llm=mock == "true",
            llm_url=environ.get("LLM_URL", ""),
            data_storage_url=environ.get("DATA_STORAGE_URL", ""),
            host=environ.get("HOST") or "0.0.0.0",
            port=int(port),
            fault=environ.get("HOLMESGPT_API_FAULT", ""),
        )
