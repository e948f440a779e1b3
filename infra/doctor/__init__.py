"""`infra.doctor`: what a run needs of this host, looked at before anything starts."""
