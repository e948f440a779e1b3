"""Why a run did not pass: facts in, one cause out. Pure; the causes are tables."""
