"""What can be run: components and services, declared in TOML, and the code that reads them."""
