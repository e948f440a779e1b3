"""HolmesGPT-API: investigates an incident, or one that a workflow did not cure, and recommends what to run."""
