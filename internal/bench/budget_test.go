package bench

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

var profiles = flag.String("profiles", "", "folder for profiles of the first worker of each benchmark: of its CPU time, from which its budget is printed, and of its allocations")

// A part is a row of a budget: the time in functions whose names contain one of
// functions.
type part struct {
	name      string
	functions []string
}

// stages divide the CPU time of an event. A sample belongs to the stage that names
// the innermost of its functions. Loading and saving rows are stages of their own,
// because a transaction of the journal does it for many steps together.
var stages = []part{
	{"fetch and decode", []string{"/consumer.", "segmentio/kafka-go.", "/schemas.(*Decoder)"}},
	{"ingest", []string{"/steps.(*Journal).Ingest", "/steps.(*ingestion)"}},
	{"claim", []string{"/steps.(*Journal).Claim", "/steps.(*Journal).Due", "/steps.(*Journal).AvailablePermits", "/steps.(*Unit).planReleased", "/engine.(*Engine).tick", "/engine.(*Engine).dispatch"}},
	{"begin", []string{"/steps.(*Journal).BeginAttempt", "/steps.(*Journal).BeginCheck", "/engine.(*Engine).precheck"}},
	{"call", []string{"/engine.(*Engine).exchange", "/invoicebox.(*Client)", "/engine.(*Engine).logOutcome"}},
	{"save response", []string{"/steps.(*Journal).SaveResponse", "/engine.(*Engine).saveResponse", "/engine.(*Engine).onActivationResponse"}},
	{"complete", []string{"/steps.(*Journal).Apply", "/steps.(*Journal).EndAttempt", "/engine.(*Engine).storeCredentials", "/engine.(*Engine).onResponse"}},
	{"relay", []string{"/producer.", "/steps.(*Journal).Pending", "/steps.(*Journal).MarkPublished"}},
	{"load rows", []string{"/steps.(*Loader).load"}},
	{"save rows", []string{"/steps.(*Unit).flush"}},
	{"garbage collection", []string{"runtime.gcBgMarkWorker", "runtime.bgsweep", "runtime.bgscavenge", "runtime.gcAssistAlloc"}},
}

// rest divides the samples that belong to none of stages.
var rest = []part{
	{"begin and commit of transactions", []string{"/journal/sqlite.", "/journal/postgres."}},
	{"rest of the engine", []string{"/engine."}},
	{"scheduler", []string{"runtime.mcall", "runtime.mstart", "runtime.schedule", "runtime.sysmon"}},
	{"metrics and profile", []string{"net/http.(*conn).serve", "runtime/pprof."}},
}

// kinds divide the same time by the kind of work, over all stages.
var kinds = []part{
	{"SQLite", []string{"modernc.org/sqlite"}},
	{"PostgreSQL's client", []string{"jackc/pgx/"}},
	{"allocation", []string{"runtime.mallocgc"}},
	{"system calls", []string{"syscall.Syscall", "syscall.RawSyscall", "linux.Syscall6"}},
	{"encryption and digests", []string{"crypto/", "/keyset."}},
	{"JSON", []string{"encoding/json", "go-json-experiment/json", "santhosh-tekuri/jsonschema"}},
	{"logging", []string{"log/slog."}},
	{"metrics", []string{"prometheus/client_golang/"}},
}

// profile records a CPU profile of the first worker if -profiles is set. The function
// that it returns ends the recording and returns the profile, nil if there is none.
func (r *rig) profile(b *testing.B) func() *profile.Profile {
	if *profiles == "" || len(r.processes) == 0 {
		return func() *profile.Profile { return nil }
	}
	stop, done := make(chan struct{}), make(chan *profile.Profile, 1)
	go func() {
		var parts []*profile.Profile
		for stopped := false; !stopped; {
			p, err := get(r.processes[0].addr, "profile?seconds=1")
			if err != nil {
				b.Error(err)
				break
			}
			parts = append(parts, p)
			select {
			case <-stop:
				stopped = true
			default:
			}
		}
		whole, err := profile.Merge(parts)
		if err != nil {
			b.Error(err)
		}
		done <- whole
	}()
	return func() *profile.Profile {
		close(stop)
		whole := <-done
		allocations, err := get(r.processes[0].addr, "allocs")
		if err != nil {
			b.Fatal(err)
		}
		for kind, p := range map[string]*profile.Profile{"cpu": whole, "allocs": allocations} {
			f, err := os.Create(filepath.Join(*profiles, strings.ReplaceAll(b.Name(), "/", "-")+"."+kind+".pb.gz"))
			if err != nil {
				b.Fatal(err)
			}
			if err := errors.Join(p.Write(f), f.Close()); err != nil {
				b.Fatal(err)
			}
		}
		return whole
	}
}

// get reads a profile of a worker.
func get(addr, name string) (*profile.Profile, error) {
	resp, err := http.Get("http://" + addr + "/debug/pprof/" + name) //nolint:noctx // a benchmark
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	return profile.Parse(resp.Body)
}

// budget formats a table that divides micros, the CPU time of an event, like the
// samples of a profile.
func budget(p *profile.Profile, micros float64) string {
	byStage, byKind, total := map[string]int64{}, map[string]int64{}, int64(0)
	for _, s := range p.Sample {
		n := s.Value[len(s.Value)-1]
		total += n
		stack := functions(s)
		byStage[stageOf(stack)] += n
		for _, k := range kinds {
			if slices.ContainsFunc(stack, k.names) {
				byKind[k.name] += n
			}
		}
	}
	var text strings.Builder
	row := func(name string, n int64) {
		if n > 0 {
			fmt.Fprintf(&text, "| %s | %.0f |\n", name, micros*float64(n)/float64(total))
		}
	}
	for _, s := range slices.Concat(stages, rest) {
		row(s.name, byStage[s.name])
	}
	row("other", byStage["other"])
	row("**all**", total)
	for _, k := range kinds {
		row("of that "+k.name, byKind[k.name])
	}
	return text.String()
}

// functions are the functions of a sample, the innermost first.
func functions(s *profile.Sample) []string {
	var names []string
	for _, location := range s.Location {
		for _, line := range location.Line {
			names = append(names, line.Function.Name)
		}
	}
	return names
}

func stageOf(stack []string) string {
	for _, parts := range [][]part{stages, rest} {
		for _, function := range stack {
			for _, s := range parts {
				if s.names(function) {
					return s.name
				}
			}
		}
	}
	return "other"
}

func (p part) names(function string) bool {
	return slices.ContainsFunc(p.functions, func(s string) bool { return strings.Contains(function, s) })
}

func TestStageOf(t *testing.T) {
	for want, stack := range map[string][]string{
		"begin":              {"modernc.org/sqlite.(*conn).step", "invoicebox-worker/internal/journal/sqlite.stepTx.Load", "invoicebox-worker/internal/journal/steps.(*Journal).BeginAttempt.func2", "invoicebox-worker/internal/journal/steps.(*Journal).Run"},
		"save rows":          {"runtime.mallocgc", "invoicebox-worker/internal/journal/steps.(*Unit).flush", "invoicebox-worker/internal/journal/sqlite.(*Journal).write"},
		"garbage collection": {"runtime.scanobject", "runtime.gcBgMarkWorker"},
		"call":               {"internal/runtime/syscall/linux.Syscall6", "invoicebox-worker/invoicebox.wire.RoundTrip", "invoicebox-worker/invoicebox.(*Client).do", "invoicebox-worker/internal/engine.(*Engine).makeCall"},
		"other":              {"main.main"},
	} {
		if got := stageOf(stack); got != want {
			t.Errorf("%v: %s, want %s", stack, got, want)
		}
	}
}
