from pathlib import Path

from infra.sessions import register_services

register_services(Path(__file__).parent)
