"""One runner for test suites that need real services in Podman containers."""

__version__ = "0.1.0"
