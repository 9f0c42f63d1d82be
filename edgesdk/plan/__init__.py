"""`python -m edgesdk.plan`: which stages belong on which worker of a cluster."""
