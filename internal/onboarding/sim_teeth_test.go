package onboarding

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

var (
	simTeeth = flag.Int("sim.teeth", 0, "plant every bug of testdata/teeth and look for it with as many seeds; 0: do not")
	simOnly  = flag.String("sim.tooth", "", "only those whose name holds this")
)

// A simTooth is a bug to be planted: pieces of text that take the place of
// others.
type simTooth struct {
	name, why string
	changes   []simChange
}

type simChange struct{ file, is, becomes string }

// Of a tooth's file the first line says what is wrong then; each change is
//
//	==== FILE
//	the text that is there, once
//	==== is
//	the text in its place
func readTeeth(t *testing.T) (teeth []simTooth) {
	t.Helper()
	files, err := filepath.Glob("testdata/teeth/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no teeth: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n==== ")
		tooth := simTooth{name: strings.TrimSuffix(filepath.Base(file), ".txt"), why: parts[0]}
		for i := 1; i+1 < len(parts); i += 2 {
			name, is, ok := strings.Cut(parts[i], "\n")
			becomes, ok2 := strings.CutPrefix(parts[i+1], "is\n")
			if !ok || !ok2 {
				t.Fatalf("%s: change %d is not of the form", file, i/2)
			}
			tooth.changes = append(tooth.changes, simChange{name, is, becomes})
		}
		teeth = append(teeth, tooth)
	}
	return teeth
}

var simFound = regexp.MustCompile(`seed (\d+) \(the (\d+)\. of this run\): (.*)`)

// The simulation finds every planted bug. The module is left alone: the go
// command is told to read other files in place of the changed ones.
func TestSimulationTeeth(t *testing.T) {
	teeth := readTeeth(t)
	if *simTeeth == 0 {
		t.Skip("-sim.teeth=SEEDS is not given")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, tooth := range teeth {
		if !strings.Contains(tooth.name, *simOnly) {
			continue
		}
		t.Run(tooth.name, func(t *testing.T) {
			overlay := map[string]string{}
			for i, c := range tooth.changes {
				from := filepath.Join(root, c.file)
				source := from
				if o, ok := overlay[from]; ok {
					source = o
				}
				text, err := os.ReadFile(source)
				if err != nil {
					t.Fatal(err)
				}
				if n := strings.Count(string(text), c.is); n != 1 {
					t.Fatalf("the tooth does not fit any more: %d times in %s: %q", n, c.file, c.is)
				}
				to := filepath.Join(t.TempDir(), fmt.Sprintf("%d.go", i))
				if err := os.WriteFile(to, []byte(strings.Replace(string(text), c.is, c.becomes, 1)), 0o600); err != nil {
					t.Fatal(err)
				}
				overlay[from] = to
			}
			doc, err := json.Marshal(map[string]any{"Replace": overlay})
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "overlay.json")
			if err := os.WriteFile(file, doc, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-vet=off", "-overlay="+file, "-run=TestSimulation$", ".",
				fmt.Sprintf("-sim.seed=%d", *simSeed), fmt.Sprintf("-sim.seeds=%d", *simTeeth))
			out, err := cmd.CombinedOutput()
			m := simFound.FindStringSubmatch(string(out))
			if m == nil {
				t.Fatalf("not found in %d seeds: %s (%v)\n%s", *simTeeth, tooth.why, err, out[max(0, len(out)-2000):])
			}
			t.Logf("found by seed %s, the %s.: %s", m[1], m[2], m[3])
		})
	}
}
