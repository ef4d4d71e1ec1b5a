"""The incident report: what a replay shows, gathered while it runs and drawn as one page that needs nothing else."""
