// Package mutant plants bugs in the module's sources, to check that tests find them.
// The sources are left alone: the go command reads other files in place of the
// changed ones. It is for tests only.
package mutant

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/go-json-experiment/json"
)

// A Mutant is one planted bug.
type Mutant struct {
	Name string
	Why  string   // what is wrong with it
	Test []string // arguments of go test that find it; nil: the caller knows
	root string
	edit []edit
}

// An edit replaces a text that a file has once.
type edit struct{ file, is, becomes string }

// Read reads the mutants of a folder, one a file. Root is the module's folder, to
// which the names of files are relative. The first line of a file says what is wrong
// with the mutant. Each part after it begins with "==== ":
//
//	==== test ARGUMENTS
//	==== FILE
//	the text that is there, once
//	==== is
//	the text in its place
//
// The part test is optional. It has the arguments of the go test that finds the mutant.
func Read(folder, root string) (list []Mutant, err error) {
	root, err = filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.txt"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no mutants in %s", folder)
	}
	for _, file := range files {
		text, err := os.ReadFile(file) // #nosec G304 -- of the folder
		if err != nil {
			return nil, err
		}
		parts := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n==== ")
		m := Mutant{Name: strings.TrimSuffix(filepath.Base(file), ".txt"), Why: parts[0], root: root}
		parts = parts[1:]
		if len(parts) > 0 {
			if args, ok := strings.CutPrefix(parts[0], "test "); ok {
				m.Test, parts = strings.Fields(args), parts[1:]
			}
		}
		for ; len(parts) > 1; parts = parts[2:] {
			name, is, ok := strings.Cut(parts[0], "\n")
			becomes, ok2 := strings.CutPrefix(parts[1], "is\n")
			if !ok || !ok2 {
				return nil, fmt.Errorf("%s: change %d is not of the form", file, len(m.edit)+1)
			}
			m.edit = append(m.edit, edit{filepath.Join(root, name), is, becomes})
		}
		if len(parts) > 0 || len(m.edit) == 0 {
			return nil, fmt.Errorf("%s: changes nothing, or has a part too many", file)
		}
		list = append(list, m)
	}
	return list, nil
}

// sources returns the changed files. It fails if a text to be replaced is not there, or
// not once: the mutant does not fit any more.
func (m Mutant) sources() (map[string]string, error) {
	changed := map[string]string{}
	for _, e := range m.edit {
		source, ok := changed[e.file]
		if !ok {
			text, err := os.ReadFile(e.file)
			if err != nil {
				return nil, err
			}
			source = string(text)
		}
		if n := strings.Count(source, e.is); n != 1 {
			return nil, fmt.Errorf("mutant %s does not fit: %d times in %s: %q", m.Name, n, e.file, e.is)
		}
		changed[e.file] = strings.Replace(source, e.is, e.becomes, 1)
	}
	return changed, nil
}

// Check fails if the mutant does not fit the sources.
func (m Mutant) Check() error {
	_, err := m.sources()
	return err
}

// Run runs go test with the mutant and returns the output. The error is that of go
// test if the mutant was found, or if it does not compile. Scratch is a folder for
// the changed files.
func (m Mutant) Run(ctx context.Context, scratch string, args ...string) (output string, err error) {
	changed, err := m.sources()
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for file, text := range changed {
		replace[file] = filepath.Join(scratch, fmt.Sprintf("%d.go", len(replace)))
		if err := os.WriteFile(replace[file], []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(scratch, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-count=1", "-vet=off", "-overlay=" + file}, args...)...) // #nosec G204 -- arguments of a test
	cmd.Dir = m.root
	out, err := cmd.CombinedOutput()
	return string(out), err
}
