package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/postgres"
	"invoicebox-worker/internal/journal/sqlite"
	"invoicebox-worker/internal/testutil/pgtest"
	"invoicebox-worker/internal/testutil/scenario"
)

// A layout is what a test is run on once more: where the journal is, and how many
// workers share it.
type layout struct {
	replicas int
	server   *pgtest.Server // nil: a file
}

// alone is one worker with a file.
func alone() layout { return layout{replicas: 1} }

// threeReplicas share a database of a server of the test.
func threeReplicas(t *testing.T) layout {
	t.Helper()
	return layout{replicas: 3, server: pgtest.Start(t)}
}

// place puts the journal of a rig where the layout wants it.
func (l layout) place(r *rig) {
	r.t.Helper()
	r.journal = "sqlite:" + r.path("journal.db")
	if l.server != nil {
		r.journal = l.server.Database(r.t, "")
	}
}

// openJournal opens the journal to be read, beside whoever works on it.
func (r *rig) openJournal() journal.Journal {
	r.t.Helper()
	j, err := r.journalWith(nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return j
}

// journalWith opens the journal: without a planner to be read only.
func (r *rig) journalWith(p journal.Planner) (journal.Journal, error) {
	if path, ok := strings.CutPrefix(r.journal, "sqlite:"); ok {
		return sqlite.Open(r.t.Context(), sqlite.Options{Path: path, ReadOnly: p == nil, Planner: p})
	}
	return postgres.Open(r.t.Context(), postgres.Options{URL: r.journal, ReadOnly: p == nil, Planner: p})
}

// startAll starts so many workers at once and waits until all are ready.
func (r *rig) startAll(n int, flags ...string) []*worker {
	r.t.Helper()
	workers := make([]*worker, n)
	for i := range workers {
		workers[i] = r.launch(flags...)
	}
	for _, w := range workers {
		w.awaitReady()
	}
	return workers
}

// terminateAll sends SIGTERM to one after the other.
func (r *rig) terminateAll(workers []*worker) {
	r.t.Helper()
	for _, w := range workers {
		if code, _ := w.terminate(40 * time.Second); code != 0 {
			r.t.Errorf("exit status %d after SIGTERM\n%s", code, w.log.tail(4<<10))
		}
	}
}

// sumOver adds what the workers count.
func sumOver(workers []*worker, name, label string) float64 {
	var sum float64
	for _, w := range workers {
		_, metrics := w.get("/metrics")
		sum += sumOf(metrics, name, label)
	}
	return sum
}

func (w *worker) signal(s syscall.Signal) {
	w.t.Helper()
	if err := w.cmd.Process.Signal(s); err != nil {
		w.t.Fatal(err)
	}
}

// ended tells whether the process is gone.
func (w *worker) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// freeze stops a worker for so long.
func (w *worker) freeze(d time.Duration) {
	w.t.Helper()
	w.signal(syscall.SIGSTOP)
	pause(d)
	w.signal(syscall.SIGCONT)
}

// pause lets processes do something, or stand still, for so long.
func pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// nothingOpen tells whether no operation is open and nothing is to be published.
func nothingOpen(s journal.Stats) bool {
	for key, n := range s.Operations {
		if key.State.Open() && n > 0 {
			return false
		}
	}
	return s.Outbox == 0
}

// unread lists the partitions whose records were not all read.
func (r *rig) unread(j journal.Journal) []string {
	r.t.Helper()
	return scenario.Unread(r.t, r.cluster, r.topics, j)
}
