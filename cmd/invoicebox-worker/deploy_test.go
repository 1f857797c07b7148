package main

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
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

// The compose files name services, files and volumes that exist, and what they publish is
// reached from this machine only.
func TestComposeFiles(t *testing.T) {
	type service struct {
		Image, Command any
		Volumes, Ports []string
		NetworkMode    string         `yaml:"network_mode"`
		DependsOn      map[string]any `yaml:"depends_on"`
		Extends        struct{ File, Service string }
		Build          any
	}
	type compose struct {
		Name     string
		Services map[string]service
		Volumes  map[string]any
	}
	const folder = "../../deploy/compose/"
	read := func(name string) (c compose) {
		doc, err := os.ReadFile(folder + name)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(doc, &c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return c
	}
	files, err := filepath.Glob(folder + "*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %d files", err, len(files))
	}
	for _, path := range files {
		file := filepath.Base(path)
		c := read(file)
		for name, s := range c.Services {
			if from := s.Extends; from.File != "" {
				extended, ok := read(from.File).Services[from.Service]
				if !ok {
					t.Errorf("%s: %s extends %s, which %s does not have", file, name, from.Service, from.File)
				}
				s.Image, s.Volumes, s.Ports = extended.Image, slices.Concat(extended.Volumes, s.Volumes), slices.Concat(extended.Ports, s.Ports)
			}
			if image, ok := s.Image.(string); !ok || !strings.HasPrefix(image, "invoicebox-") && !regexp.MustCompile(`^[a-z/]+:v?[0-9.]+$`).MatchString(image) {
				t.Errorf("%s: %s has the image %v without a version", file, name, s.Image)
			}
			needed := slices.Collect(maps.Keys(s.DependsOn))
			if of, shares := strings.CutPrefix(s.NetworkMode, "service:"); shares {
				needed = append(needed, of)
				if len(s.Ports) > 0 {
					t.Errorf("%s: %s publishes ports of a network that is another's", file, name)
				}
			}
			for _, other := range needed {
				if _, ok := c.Services[other]; !ok {
					t.Errorf("%s: %s needs %s, which does not exist", file, name, other)
				}
			}
			for _, v := range s.Volumes {
				source, _, _ := strings.Cut(v, ":")
				if !strings.HasPrefix(source, ".") {
					if _, ok := c.Volumes[source]; !ok {
						t.Errorf("%s: %s mounts the volume %s, which does not exist", file, name, source)
					}
				} else if _, err := os.Stat(folder + source); err != nil && source != "./secrets" {
					t.Errorf("%s: %s mounts %s: %v", file, name, source, err)
				}
			}
			for _, p := range s.Ports {
				if !strings.HasPrefix(p, "127.0.0.1:") {
					t.Errorf("%s: %s publishes %s on all addresses", file, name, p)
				}
			}
		}
	}
	all := read("full.yaml").Services
	for _, name := range []string{"kafka", "postgres", "openbao", "sandbox", "worker", "prometheus", "grafana"} {
		if _, ok := all[name]; !ok {
			t.Errorf("full.yaml lacks %s", name)
		}
	}
}
