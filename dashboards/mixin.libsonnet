// A Prometheus mixin (https://monitoring.mixins.dev) over the generated files.
//
//   local taskctx = (import 'taskctx/dashboards/mixin.libsonnet') + {
//     _config+:: { grafanaUrl: 'https://grafana.example.com' },
//   };
{
  _config+:: {
    // where the alerts' dashboard_url and runbook_url lead
    grafanaUrl: 'http://localhost:3000',
    runbookUrl: 'https://github.com/taskctx/taskctx/blob/main/docs/runbooks',
  },

  local withRunbooks(text) = std.strReplace(
    text, 'https://github.com/taskctx/taskctx/blob/main/docs/runbooks', $._config.runbookUrl
  ),

  grafanaDashboards+:: {
    'taskctx-overview.json': std.parseJson(withRunbooks(importstr 'grafana/taskctx-overview.json')),
    'taskctx-workers.json': std.parseJson(withRunbooks(importstr 'grafana/taskctx-workers.json')),
    'taskctx-registries.json': std.parseJson(withRunbooks(importstr 'grafana/taskctx-registries.json')),
    'taskctx-slo.json': std.parseJson(withRunbooks(importstr 'grafana/taskctx-slo.json')),
  },

  prometheusAlerts+:: {
    local alerts = importstr 'prometheus/taskctx-alerts.yaml',
    local toGrafana = std.strReplace(alerts, 'http://localhost:3000', $._config.grafanaUrl),
    groups+: std.parseYaml(withRunbooks(toGrafana)).groups,
  },

  prometheusRules+:: {
    groups+: std.parseYaml(importstr 'prometheus/taskctx-rules.yaml').groups,
  },
}
