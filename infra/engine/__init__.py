"""Podman, and nothing of Podman elsewhere: `discover` finds or configures an engine, `client` speaks to it."""
