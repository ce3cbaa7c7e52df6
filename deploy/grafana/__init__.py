"""The dashboards as code, and the catalogue of the metrics: `python -m deploy.grafana` writes both.

In: the metrics that the services' modules define. Out: dashboards/*.json and docs/metrics.md.
"""
