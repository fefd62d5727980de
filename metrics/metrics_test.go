package metrics

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// used makes Metrics with a number in every row.
func used() *Metrics {
	m := New()
	m.Ask(Sources{
		Services: func() []Service {
			return []Service{{Name: "IMAP4", Up: true, Open: 3, LoggedIn: 2, Accepted: 9, Refused: 1, Panics: 1, BytesIn: 10, BytesOut: 20}}
		},
		Certificates: func() []Certificate {
			c := Certificate{"AB12", time.Now().Add(time.Hour)}
			return []Certificate{c, c}
		},
		Throttled: func() int64 { return 4 },
		Ready:     func() bool { return true },
	})
	m.SignIn("IMAP4", "PLAIN", true, "OK", time.Millisecond)
	m.Delivery("OK", 100, time.Millisecond)
	m.Delivery("OverQuota", 100, time.Millisecond)
	m.Commit(time.Millisecond)
	m.Sync(time.Millisecond)
	m.StoreError("Conflict")
	m.Cmdlet("Get-Mailbox", "OK")
	m.Commands("IMAP4").Command("FETCH", time.Millisecond, false)
	return m
}

// scrape reads what Prometheus would.
func scrape(t *testing.T, m *Metrics) map[string]*dto.MetricFamily {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(w.Body)
	if err != nil || w.Code != 200 {
		t.Fatal(w.Code, err)
	}
	return families
}

// TestTable: what is served is exactly the table, with its types, help and labels.
func TestTable(t *testing.T) {
	families := scrape(t, used())
	for _, row := range Table {
		f := families[row.Name]
		if f == nil {
			t.Errorf("%s is in the table and not served", row.Name)
			continue
		}
		if !strings.EqualFold(f.GetType().String(), string(row.Type)) || f.GetHelp() != row.Help {
			t.Errorf("%s: %s %q", row.Name, f.GetType(), f.GetHelp())
		}
		if n := len(f.Metric[0].Label); n != len(row.Labels) {
			t.Errorf("%s: %d labels", row.Name, n)
		}
		if (row.Type == Histogram) != (len(row.Buckets) > 0) || !slices.IsSorted(row.Buckets) {
			t.Errorf("%s: buckets %v", row.Name, row.Buckets)
		}
		if strings.HasSuffix(row.Name, "_total") != (row.Type == Counter) || row.Help == "" || row.Panel.Title == "" || row.Panel.Unit == "" {
			t.Errorf("%s: %+v", row.Name, row)
		}
		delete(families, row.Name)
	}
	for name := range families {
		if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
			t.Errorf("%s is served and not in the table", name)
		}
	}
	deliveries := scrape(t, used())["postern_deliveries_total"]
	if len(deliveries.Metric) != 2 || deliveries.Metric[0].GetCounter().GetValue() != 1 {
		t.Error(deliveries)
	}
	if left := scrape(t, used())["postern_certificate_expiry_seconds"].Metric; len(left) != 1 || math.Abs(left[0].GetGauge().GetValue()-3600) > 60 {
		t.Error(left)
	}
}

// TestNothingYet: before there is anybody to ask a scrape works.
func TestNothingYet(t *testing.T) {
	if scrape(t, New())["postern_service_up"] != nil {
		t.Error("services out of nowhere")
	}
	var none *Metrics
	none.SignIn("", "", false, "", 0)
	none.Delivery("", 0, 0)
	none.Commit(0)
	none.Sync(0)
	none.StoreError("")
	none.Cmdlet("", "")
	none.Commands("POP3").Command("QUIT", 0, true)
}

// TestCommands: as many series as names, within the bound, and nothing allocated.
func TestCommands(t *testing.T) {
	m := New()
	c := m.Commands("POP3")
	if n := testing.AllocsPerRun(100, func() { c.Command("RETR", time.Millisecond, false) }); n != 0 {
		t.Errorf("%v allocations a command", n)
	}
	c.Command("", time.Second, false)
	for i := range 1000 {
		c.Command(fmt.Sprint("X", i), time.Second, true)
	}
	f := scrape(t, m)["postern_command_seconds"]
	if len(f.Metric) != maxCommands+1 {
		t.Error("series:", len(f.Metric))
	}
	counts := map[string]uint64{}
	for _, one := range f.Metric {
		counts[one.Label[0].GetValue()] = one.GetHistogram().GetSampleCount()
	}
	if counts["RETR"] != 101 || counts["unknown"] != 1 || counts["others"] != 1000-(maxCommands-2) {
		t.Error(counts["RETR"], counts["unknown"], counts["others"])
	}
}

// TestDashboard: every panel asks for metrics of the table, and each has one.
func TestDashboard(t *testing.T) {
	var b strings.Builder
	if err := WriteDashboard(&b); err != nil {
		t.Fatal(err)
	}
	var d struct {
		Panels []struct {
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal([]byte(b.String()), &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) != len(Table) {
		t.Fatal("panels:", len(d.Panels))
	}
	titles := map[string]bool{}
	for i, p := range d.Panels {
		if p.Title == "" || titles[p.Title] || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("%+v", p)
		}
		titles[p.Title] = true
		if e := p.Targets[0].Expr; !strings.Contains(e, Table[i].Name) || strings.Count(e, "(") != strings.Count(e, ")") {
			t.Errorf("%s: %s", Table[i].Name, e)
		}
		for label := range strings.SplitSeq(p.Targets[0].LegendFormat, "{{") {
			if name, _, found := strings.Cut(label, "}}"); found && !slices.Contains(Table[i].Labels, name) {
				t.Errorf("%s has no label %s", Table[i].Name, name)
			}
		}
	}
	if err := WriteDocs(io.Discard); err != nil {
		t.Error(err)
	}
}

func BenchmarkCommand(b *testing.B) {
	c := New().Commands("IMAP4")
	b.ReportAllocs()
	for b.Loop() {
		c.Command("FETCH", time.Millisecond, true)
	}
}
