"""Pictures of the dashboards in good and bad times, drawn with Grafana's own components and without Grafana."""
