package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// What .dockerignore leaves of the build context is enough to build both
// images, and holds no secret. .ci/build-image builds them.
func TestDockerContext(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(filepath.Join(root, ".dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	patterns, err := ignorefile.ReadAll(file)
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f",
		`{{if and .Module .Module.Main}}{{$d := .Dir}}{{range .GoFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{range .EmbedFiles}}{{$d}}/{{.}}{{"\n"}}{{end}}{{end}}`,
		"./cmd/invoicebox-worker", "./cmd/invoicebox-sandbox")
	list.Dir = root
	list.Env = append(os.Environ(), "GOOS=linux", "CGO_ENABLED=0")
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	needed := []string{"go.mod", "go.sum"}
	for line := range strings.Lines(string(out)) {
		path, err := filepath.Rel(root, strings.TrimSpace(line))
		if err != nil {
			t.Fatal(err)
		}
		needed = append(needed, path)
	}
	if len(needed) < 100 {
		t.Fatalf("go list names %d files only", len(needed))
	}
	for _, path := range needed {
		if out, err := ignored.MatchesOrParentMatches(path); out || err != nil {
			t.Errorf(".dockerignore leaves out %s, which the build needs (%v)", path, err)
		}
	}
	for _, path := range []string{
		"keyset.json", "my.keyset.json", "partner-token", "token.txt", "shop-token.txt", "partner-signing-key", "pgpass", "invoicebox-worker.db", "x/journal.db-wal",
		"deploy/compose/secrets/token", "deploy/compose/secrets/keyset.json", ".git/config",
	} {
		if out, err := ignored.MatchesOrParentMatches(path); !out || err != nil {
			t.Errorf(".dockerignore leaves %s in the build context (%v)", path, err)
		}
		if err := exec.CommandContext(t.Context(), "git", "-C", root, "rev-parse").Run(); err == nil && !strings.HasPrefix(path, ".git/") {
			if err := exec.CommandContext(t.Context(), "git", "-C", root, "check-ignore", "-q", path).Run(); err != nil {
				t.Errorf(".gitignore does not name %s", path)
			}
		}
	}
}
