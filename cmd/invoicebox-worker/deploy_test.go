package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The files that show how to run the programs name settings that exist, and
// keep the variables of Services out.
func TestDeployFiles(t *testing.T) {
	var known []string
	for _, f := range grammar(t).Model.Flags {
		known = append(known, variable(f.Name))
	}
	files := []string{"../../README.md"}
	err := filepath.WalkDir("../../deploy", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 8 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	name := regexp.MustCompile(`INVOICEBOX_WORKER_[A-Z0-9_]+`)
	named, pods := 0, 0
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range name.FindAllString(string(text), -1) {
			named++
			if !slices.Contains(known, n) {
				t.Errorf("%s: %s belongs to no setting", path, n)
			}
		}
		if strings.Contains(string(text), `define "worker.pod"`) && !strings.Contains(string(text), "\nenableServiceLinks: false\n") {
			t.Errorf("%s: a pod gets the variables of Services", path)
		}
		for _, spec := range strings.Split(string(text), "\n    spec:\n")[1:] {
			pods++
			// The pods of the chart have one template.
			if !strings.Contains(spec, "\n      enableServiceLinks: false\n") && !strings.Contains(spec, `include "worker.pod"`) {
				t.Errorf("%s: a pod gets the variables of Services", path)
			}
		}
	}
	if named < 10 || pods < 1 {
		t.Errorf("%d variables and %d pods were looked at", named, pods)
	}
}
