package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"invoicebox-worker/internal/testutil/golden"
)

// licenceTexts are words that each allowed licence has, and that no licence before it in
// the list has.
var licenceTexts = []struct{ name, words string }{
	{"Apache-2.0", "Apache License Version 2.0"},
	{"MPL-2.0", "Mozilla Public License"},
	{"BSD-3-Clause", "Neither the name"},
	{"BSD-2-Clause", "Redistributions in binary form must reproduce"},
	{"MIT", "Permission is hereby granted, free of charge, to any person obtaining a copy"},
	{"ISC", "Permission to use, copy, modify, and/or distribute this software for any purpose"},
}

// TestLicensesPage lists the modules that the programs link, and refuses one
// whose licence is not known or not allowed.
func TestLicensesPage(t *testing.T) {
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}", "./cmd/invoicebox-worker", "./cmd/invoicebox-sandbox")
	list.Dir = filepath.Join("..", "..")
	list.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	modules := slices.Compact(slices.Sorted(strings.Lines(string(out))))
	if len(modules) < 20 {
		t.Fatalf("go list names %d modules only", len(modules))
	}
	rows := [][]string{{"module", "licence"}}
	for _, line := range modules {
		path, folder, _ := strings.Cut(strings.TrimSpace(line), " ")
		if path == "" {
			continue
		}
		name := licenceOf(t, folder)
		if name == "" {
			t.Errorf("%s: its licence is not one of those that are allowed", path)
		}
		rows = append(rows, []string{"`" + path + "`", name})
	}
	golden.CompareMarkdown(t, "../../docs/licenses.md", "# Licences", rows)
}

// licenceOf recognizes the licence in a module's folder by its words.
func licenceOf(t *testing.T, folder string) string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := strings.ToLower(e.Name())
		if e.IsDir() || !strings.HasPrefix(name, "licen") && !strings.HasPrefix(name, "copying") {
			continue
		}
		doc, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(string(doc)), " ")
		for _, l := range licenceTexts {
			if strings.Contains(text, l.words) {
				return l.name
			}
		}
	}
	return ""
}
