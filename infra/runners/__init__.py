"""The test runners: how a suite is started, and what its own report says. Pure; `infra.suites` starts the processes."""
