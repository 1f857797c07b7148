package app

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

// reported is a journal that holds one worker's report.
type reported struct {
	journal.Journal
	age  time.Duration
	free int64
	f    workerFacts
}

func (r *reported) Accounts(context.Context) ([]journal.Account, error) {
	return []journal.Account{{Name: "default", Circuit: journal.Circuit{State: journal.CircuitActive}}}, nil
}

func (r *reported) Capacity(context.Context) (journal.Capacity, error) {
	return journal.Capacity{Free: r.free}, nil
}

func (r *reported) WorkerReports(context.Context) ([]journal.WorkerReport, error) {
	doc, err := json.Marshal(r.f)
	return []journal.WorkerReport{{Worker: uuid.New(), Owner: "host/1", Age: r.age, Facts: doc}}, err
}

// A worker whose disk is full cannot report. It runs all the same, and commands name
// the disk.
func TestSituationWithAFullDisk(t *testing.T) {
	for name, c := range map[string]struct {
		age     time.Duration
		free    int64
		running bool
		causes  []onboarding.Cause
	}{
		"Capacity": {0, 1000, true, nil},
		"Full":     {0, 10, true, []onboarding.Cause{onboarding.CauseDisk}},
		"FullOld":  {time.Hour, 10, true, []onboarding.Cause{onboarding.CauseDisk}},
		"RoomOld":  {time.Hour, 1000, false, nil},
		"NoAnswer": {time.Hour, -1, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			j := &reported{age: c.age, free: c.free, f: workerFacts{CallsReserve: 100, Accounts: []onboarding.AccountStatus{{Account: "default"}}}}
			s, err := ReadSituation(t.Context(), j)
			if err != nil {
				t.Fatal(err)
			}
			var causes []onboarding.Cause
			for _, o := range s.AccountObstacles(journal.Account{Name: "default", Circuit: journal.Circuit{State: journal.CircuitActive}}) {
				causes = append(causes, o.Cause)
			}
			if s.Running() != c.running || len(causes) != len(c.causes) || len(causes) == 1 && causes[0] != c.causes[0] {
				t.Errorf("running %v, causes %v", s.Running(), causes)
			}
		})
	}
}

// Of several workers one whose settings can be used is enough: the others are named.
func TestSituationOfABlockedWorker(t *testing.T) {
	blocked := workerFacts{Accounts: []onboarding.AccountStatus{{Account: "default", Blocked: onboarding.ReasonAddress, BlockedSince: time.Now()}}}
	account := journal.Account{Name: "default", Circuit: journal.Circuit{State: journal.CircuitActive}}
	s, err := ReadSituation(t.Context(), &reported{free: -1, f: blocked})
	if err != nil {
		t.Fatal(err)
	}
	if g := s.Circuit(account); g.State != journal.CircuitPaused || g.Reason != string(onboarding.ReasonAddress) || len(s.BlockedOn(account)) != 0 {
		t.Errorf("one worker: %+v, %v", g, s.BlockedOn(account))
	}
	s, err = ReadSituation(t.Context(), &two{reported{free: -1, f: blocked}})
	if err != nil {
		t.Fatal(err)
	}
	if g := s.Circuit(account); g.State != journal.CircuitActive || len(s.BlockedOn(account)) != 1 || s.BlockedOn(account)[0] != "host/1" {
		t.Errorf("two workers: %+v, %v", g, s.BlockedOn(account))
	}
}

// two adds the report of a worker that is not blocked.
type two struct{ reported }

func (r *two) WorkerReports(ctx context.Context) ([]journal.WorkerReport, error) {
	list, err := r.reported.WorkerReports(ctx)
	doc, _ := json.Marshal(workerFacts{Accounts: []onboarding.AccountStatus{{Account: "default"}}})
	return append(list, journal.WorkerReport{Worker: uuid.New(), Owner: "host/2", Facts: doc}), err
}

// A part that is not ready says what that costs.
func TestMeanwhile(t *testing.T) {
	h := newHealth()
	ok := true
	h.add("part", withEffect("all waits", func(context.Context) (bool, string) { return ok, "words" }))
	h.started()
	if _, text := h.report(t.Context()); text != "ready: part: words\n" {
		t.Error(text)
	}
	ok = false
	if ready, text := h.report(t.Context()); ready || !strings.Contains(text, "not ready: part: words; meanwhile all waits\n") {
		t.Error(text)
	}
}
