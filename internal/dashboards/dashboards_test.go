package dashboards

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

var update = flag.Bool("update", false, "write the dashboards instead of comparing them")

const folder = "../../deploy/grafana/dashboards"

// The files are what the code builds, and no other dashboard is there.
func TestFiles(t *testing.T) {
	all := All()
	for name, builder := range all {
		built, err := builder.Build()
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.MarshalIndent(built, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, '\n')
		path := filepath.Join(folder, name)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil { // #nosec G306 -- Grafana reads it
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs from the code (-update writes it): %v", path, err)
		}
	}
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(files) != len(all) {
		t.Errorf("%d files, %d dashboards: %v", len(files), len(all), err)
	}
}

// Every query is PromQL, its metrics and labels exist, and its legend names labels that its
// result has. Every variable that is used is defined.
func TestQueries(t *testing.T) {
	metrics := readMetrics(t)
	queries := 0
	for name, builder := range All() {
		built, err := builder.Build()
		if err != nil {
			t.Fatal(err)
		}
		doc, err := json.Marshal(built)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Panels     []panelJSON
			Templating struct {
				List []struct{ Name, Type, Query any }
			}
		}
		if err := json.Unmarshal(doc, &d); err != nil {
			t.Fatal(err)
		}
		defined := []string{"__rate_interval"}
		for _, v := range d.Templating.List {
			defined = append(defined, v.Name.(string))
			if v.Type == "query" {
				values := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(v.Query.(string))
				if values == nil {
					t.Fatalf("%s: the variable %v has the query %v", name, v.Name, v.Query)
				}
				if labels := metrics.check(t, name+": "+v.Query.(string), values[1], defined); !slices.Contains(labels, values[2]) {
					t.Errorf("%s: %v: no label %s", name, v.Query, values[2])
				}
			}
		}
		for _, p := range panelsOf(d.Panels) {
			where := name + ": " + p.Title
			if p.Type != "row" && (p.Title == "" || p.Description == "" || len(p.Targets) == 0) {
				t.Errorf("%s lacks a title, a description or a query", where)
			}
			for _, q := range p.Targets {
				queries++
				labels := metrics.check(t, where, q.Expr, defined)
				for _, m := range regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`).FindAllStringSubmatch(q.LegendFormat, -1) {
					if !slices.Contains(labels, m[1]) {
						t.Errorf("%s: the result of %s has no label %s", where, q.Expr, m[1])
					}
				}
			}
		}
	}
	if queries < 40 {
		t.Errorf("%d queries were looked at", queries)
	}
}

type panelJSON struct {
	Type, Title, Description string
	Targets                  []struct{ Expr, LegendFormat string }
	Panels                   []panelJSON
}

func panelsOf(list []panelJSON) (all []panelJSON) {
	for _, p := range list {
		all = append(append(all, p), panelsOf(p.Panels)...)
	}
	return all
}

// metrics are the labels of each metric that can be queried.
type metrics map[string][]string

// everywhere are the labels that a scrape adds.
var everywhere = []string{"job", "instance"}

// readMetrics reads the tables of docs/metrics.md. The metrics of the process, and of
// Prometheus, are not in it.
func readMetrics(t *testing.T) metrics {
	t.Helper()
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	m := metrics{"process_resident_memory_bytes": everywhere, "process_cpu_seconds_total": everywhere, "ALERTS": {"alertname", "alertstate"}}
	row := regexp.MustCompile("(?m)^\\| `(invoicebox_worker_\\w+)` \\| (\\w+) \\| (.*?) \\|")
	for _, found := range row.FindAllStringSubmatch(string(doc), -1) {
		labels := slices.Clone(everywhere)
		for _, label := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(found[3], -1) {
			labels = append(labels, label[1])
		}
		if found[2] != "histogram" {
			m[found[1]] = labels
			continue
		}
		m[found[1]+"_bucket"] = append(slices.Clone(labels), "le")
		m[found[1]+"_count"], m[found[1]+"_sum"] = labels, labels
	}
	if len(m) < 50 {
		t.Fatalf("docs/metrics.md has %d metrics", len(m))
	}
	return m
}

// check parses a query and returns the labels that its result can have.
func (m metrics) check(t *testing.T, where, expr string, defined []string) []string {
	t.Helper()
	for _, v := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(expr, -1) {
		if !slices.Contains(defined, v[1]) {
			t.Errorf("%s: the variable %s is not defined", where, v[0])
		}
	}
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(strings.ReplaceAll(expr, "$__rate_interval", "1m"))
	if err != nil {
		t.Errorf("%s: %s: %v", where, expr, err)
		return nil
	}
	return m.labels(t, where, parsed)
}

func (m metrics) labels(t *testing.T, where string, node parser.Node) []string {
	t.Helper()
	switch n := node.(type) {
	case *parser.VectorSelector:
		labels, ok := m[n.Name]
		if !ok {
			t.Errorf("%s: there is no metric %s", where, n.Name)
		}
		for _, matcher := range n.LabelMatchers {
			if matcher.Name != "__name__" && !slices.Contains(labels, matcher.Name) {
				t.Errorf("%s: %s has no label %s", where, n.Name, matcher.Name)
			}
		}
		return labels
	case *parser.AggregateExpr:
		labels := m.labels(t, where, n.Expr)
		for _, by := range n.Grouping {
			if n.Without || !slices.Contains(labels, by) {
				t.Errorf("%s: grouped by %s, which is no label of %s", where, by, n.Expr)
			}
		}
		return n.Grouping
	}
	var labels []string
	for child := range parser.ChildrenIter(node) {
		labels = append(labels, m.labels(t, where, child)...)
	}
	return labels
}
