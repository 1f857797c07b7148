package mutant

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// module is a module with a function, its test and a folder of mutants.
func module(t *testing.T, mutants map[string]string) (root, folder string) {
	t.Helper()
	root = t.TempDir()
	write(t, filepath.Join(root, "go.mod"), "module sum\n\ngo 1.26\n")
	write(t, filepath.Join(root, "sum.go"), "package sum\n\nfunc sum(a, b int) int { return a + b }\n")
	write(t, filepath.Join(root, "sum_test.go"), `package sum

import "testing"

func TestSum(t *testing.T) {
	if n := sum(1, 2); n != 3 {
		t.Fatalf("the sum is %d", n)
	}
}
`)
	for name, text := range mutants {
		write(t, filepath.Join(root, "mutants", name+".txt"), text)
	}
	return root, filepath.Join(root, "mutants")
}

func TestMutant(t *testing.T) {
	root, folder := module(t, map[string]string{
		"difference": "The second number is subtracted.\n==== test -run=TestSum .\n==== sum.go\na + b\n==== becomes\na - b\n",
		"swapped":    "The numbers are swapped, then the sum is made of other names.\n==== sum.go\na, b int\n==== becomes\nb, a int\n==== sum.go\na + b\n==== becomes\nb + a\n",
		"unfit":      "The text is not there.\n==== sum.go\na * b\n==== becomes\na / b\n",
		"twice":      "The text is there twice.\n==== sum.go\nint\n==== becomes\nint64\n",
	})
	list, err := Read(folder, root)
	if err != nil || len(list) != 4 {
		t.Fatalf("%d mutants, error %v", len(list), err)
	}
	for _, m := range list {
		switch err := m.Check(); m.Name {
		case "unfit", "twice":
			if err == nil || !strings.Contains(err.Error(), "does not fit") {
				t.Errorf("%s: error %v", m.Name, err)
			}
			continue
		default:
			if err != nil {
				t.Error(err)
			}
		}
		args := m.Test
		if args == nil {
			args = []string{"."}
		}
		out, err := m.Run(t.Context(), t.TempDir(), args...)
		if found := err != nil && strings.Contains(out, "the sum is -1"); found != (m.Name == "difference") {
			t.Errorf("%s: found %v: %v\n%s", m.Name, found, err, out)
		}
	}
	if text, err := os.ReadFile(filepath.Join(root, "sum.go")); err != nil || !strings.Contains(string(text), "a + b") {
		t.Errorf("the source was changed: %q, %v", text, err)
	}
}

func TestRead(t *testing.T) {
	for name, text := range map[string]string{
		"no change":         "Nothing.",
		"no replacement":    "Half.\n==== sum.go\na\n",
		"a part too many":   "Odd.\n==== sum.go\na\n==== becomes\nb\n==== sum.go\nc\n",
		"another separator": "Wrong.\n==== sum.go\na\n==== is\nb\n",
	} {
		root, folder := module(t, map[string]string{"broken": text})
		if list, err := Read(folder, root); err == nil {
			t.Errorf("%s: read as %+v", name, list)
		}
	}
	if list, err := Read(t.TempDir(), "."); err == nil {
		t.Errorf("an empty folder: %+v", list)
	}
}
