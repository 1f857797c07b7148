// Package mutant plants bugs in the module's sources, to check that tests find them.
// It does not write to the sources: the go command reads changed copies in their place
// (go test -overlay). It is for tests only.
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
	Test []string // arguments of the go test that finds it, nil if the file names none
	root string
	edit []edit
}

// An edit replaces a text that occurs once in a file.
type edit struct{ file, before, after string }

// Read reads the mutants of a folder, one from each file. The names of sources are
// relative to root, the module's folder. The first line of a file says what is wrong
// with the mutant. After it come parts that begin with "==== ": the arguments of the
// go test that finds the mutant, which may be left out, and two parts for each edit.
//
//	==== test ARGUMENTS
//	==== FILE
//	the text to replace, which occurs once in FILE
//	==== becomes
//	the new text
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
			name, before, ok := strings.Cut(parts[0], "\n")
			after, ok2 := strings.CutPrefix(parts[1], "becomes\n")
			if !ok || !ok2 {
				return nil, fmt.Errorf("%s: edit %d lacks the text to replace or the part becomes", file, len(m.edit)+1)
			}
			m.edit = append(m.edit, edit{filepath.Join(root, name), before, after})
		}
		if len(parts) > 0 || len(m.edit) == 0 {
			return nil, fmt.Errorf("%s: the edits are not pairs of a file and a part becomes", file)
		}
		list = append(list, m)
	}
	return list, nil
}

// sources returns the changed files. It fails if a text to replace does not occur
// exactly once, because the mutant does not fit the sources any more.
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
		if n := strings.Count(source, e.before); n != 1 {
			return nil, fmt.Errorf("mutant %s does not fit: %d times in %s: %q", m.Name, n, e.file, e.before)
		}
		changed[e.file] = strings.Replace(source, e.before, e.after, 1)
	}
	return changed, nil
}

// Check fails if the mutant does not fit the sources.
func (m Mutant) Check() error {
	_, err := m.sources()
	return err
}

// Run runs go test with the mutant and returns its output. It returns the error of go
// test if the mutant was found, and also if it does not compile. Scratch is a folder
// for the changed files.
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
