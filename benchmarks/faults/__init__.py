"""What happens when things go wrong: every fault is really made and its outcome is the program's own words."""
