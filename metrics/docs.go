package metrics

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// WriteDocs writes the page of all metrics as Markdown, made from Table.
func WriteDocs(w io.Writer) error {
	var b strings.Builder
	b.WriteString("# Metrics\n\n<!-- Made by `make docs`; do not edit. -->\n\n" +
		"In Prometheus's form at `/metrics`: on the console's address over HTTPS with an API token that holds the View-Only role\n" +
		"(`Authorization: Bearer`), and without a sign-in on the address that the key `metrics` of the settings file names, such as\n" +
		"`metrics = \"127.0.0.1:9143\"`; there is none when it is left out. `docs/grafana/postern.json` is a dashboard of them all.\n" +
		"Beside these stand the metrics of the Go runtime (`go_…`) and of the process (`process_…`). No label holds what a client sent.\n\n" +
		"`/healthz` answers 200 while the process lives, `/readyz` 200 while the store can be written to and every service runs that\n" +
		"should, else 503 with what is wrong. Both stand at both places and need no sign-in.\n\n" +
		"| Metric | Type | Labels | Meaning |\n| --- | --- | --- | --- |\n")
	for _, m := range Table {
		labels := ""
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Type, labels, m.Help)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// query is the PromQL of a metric's panel.
func (m *Metric) query() string {
	by := "sum"
	if len(m.Labels) > 0 {
		by = "sum by (" + strings.Join(m.Labels, ", ") + ")"
	}
	switch {
	case m.Panel.Query != "":
		return m.Panel.Query
	case m.Type == Counter:
		return fmt.Sprintf("%s (rate(%s[5m]))", by, m.Name)
	case m.Type == Histogram:
		return fmt.Sprintf("histogram_quantile(0.95, sum by (%s) (rate(%s_bucket[5m])))", strings.Join(append([]string{"le"}, m.Labels...), ", "), m.Name)
	}
	return m.Name
}

// object is a JSON object; its keys are written in alphabetical order.
type object = map[string]any

// WriteDashboard writes a dashboard for Grafana with a panel for each metric of
// Table. Its data source is chosen when it is imported.
func WriteDashboard(w io.Writer) error {
	source := object{"type": "prometheus", "uid": "${datasource}"}
	var panels []object
	const width, height, columns = 8, 7, 3
	for i, m := range Table {
		title := m.Panel.Title
		if m.Type == Histogram {
			title += " (95 %)"
		}
		panels = append(panels, object{
			"id": i + 1, "type": "timeseries", "title": title, "description": m.Help, "datasource": source,
			"gridPos":     object{"x": i % columns * width, "y": i / columns * height, "w": width, "h": height},
			"fieldConfig": object{"defaults": object{"unit": m.Panel.Unit}, "overrides": []any{}},
			"options":     object{"legend": object{"displayMode": "list", "placement": "bottom", "showLegend": true}, "tooltip": object{"mode": "multi", "sort": "desc"}},
			"targets":     []object{{"refId": "A", "datasource": source, "expr": m.query(), "legendFormat": m.Panel.Legend}},
		})
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(object{
		"title": "Postern", "uid": "postern", "tags": []string{"mail"}, "schemaVersion": 39, "version": 1, "editable": true,
		"time": object{"from": "now-6h", "to": "now"}, "refresh": "30s", "timezone": "browser", "panels": panels,
		"templating": object{"list": []object{{"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}}},
	})
}
