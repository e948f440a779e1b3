"""What observes a run: the console, and the files of the run directory. The runner itself prints nothing."""
