package main

import (
	"os"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"invoicebox-worker/internal/testutil/golden"
)

// docs/metrics.md lists the alerts of deploy/prometheus, their metrics exist, and their
// runbooks are headings of docs.
func TestAlertsPage(t *testing.T) {
	text, err := os.ReadFile(repository + "/deploy/prometheus/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	known := readDocument(t, repository+"/docs/metrics.md")
	rows := [][]string{{"alert", "severity", "condition", "runbook"}}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			names := metric.FindAllString(rule.Expr, -1)
			if len(names) == 0 {
				t.Errorf("%s looks at no metric", rule.Alert)
			}
			for _, name := range names {
				if !strings.Contains(known, "| `"+name+"` |") {
					t.Errorf("%s: there is no metric %s", rule.Alert, name)
				}
			}
			page, found := strings.CutPrefix(rule.Annotations["runbook"], "docs/")
			if !found || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
				t.Errorf("%s lacks a summary, a description or a runbook", rule.Alert)
			}
			condition := "`" + rule.Expr + "`"
			if rule.For != "" {
				condition += " for " + rule.For
			}
			rows = append(rows, []string{rule.Alert, rule.Labels["severity"], condition, "[runbook](" + page + ")"})
		}
	}
	if len(rows) == 1 {
		t.Fatal("there are no alerts")
	}
	golden.CompareMarkdown(t, repository+"/docs/metrics.md", "## What to watch", rows)
}
