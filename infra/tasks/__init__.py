"""The invoke namespaces: thin. A task reads the words, calls, prints, and leaves with the outcome's exit code."""
