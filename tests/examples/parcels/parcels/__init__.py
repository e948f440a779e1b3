"""Where a parcel is, and who is told when it moves."""
