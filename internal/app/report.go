package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"invoicebox-worker/internal/engine"
	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/onboarding"
)

const (
	reportLook  = time.Second      // how often the state is compared with the last report
	reportEvery = 10 * time.Second // how often a report is made without a change
	// reportFresh is how old the last report of a running worker can be.
	reportFresh = 3 * reportEvery
)

// workerFacts are what a worker reports for commands beside it.
type workerFacts struct {
	Accounts []onboarding.AccountStatus `json:"accounts"`
	// Keys are the keys that the worker has loaded.
	Keys []workerKey `json:"keys,omitzero"`
	// CallsReserve is how many bytes must be free on the journal's disk for a call to
	// begin.
	CallsReserve int64 `json:"callsReserve,omitzero"`
}

// A standing reports the state of the accounts.
type standing interface {
	Status(unknown, now time.Time) []engine.BreakerStatus
}

// A reportStore is the part of [journal.Journal] that a reporter needs.
type reportStore interface {
	journal.Reports
	UnknownSince(ctx context.Context) (time.Time, error)
}

// A reporter writes the state of this worker into the journal.
type reporter struct {
	journal reportStore
	pool    standing
	keys    func() []workerKey // nil: they are not reported
	worker  uuid.UUID
	reserve int64         // for calls, on the journal's disk
	short   func() string // the space that calls lack on that disk; nil: not checked
}

// run reports until ctx ends.
func (r *reporter) run(ctx context.Context) error {
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = r.journal.EndReport(last, r.worker)
	}()
	tick := time.NewTicker(reportLook)
	defer tick.Stop()
	var last string
	var at time.Time
	for {
		if facts, err := r.facts(ctx); err == nil && (facts != last || time.Since(at) >= reportEvery) {
			if r.journal.ReportWorker(ctx, journal.WorkerReport{Worker: r.worker, Owner: owner(), Facts: []byte(facts)}) == nil {
				last, at = facts, time.Now()
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (r *reporter) facts(ctx context.Context) (string, error) {
	unknown, err := r.journal.UnknownSince(ctx)
	if err != nil {
		return "", err
	}
	f := workerFacts{CallsReserve: r.reserve}
	if r.keys != nil {
		f.Keys = r.keys()
	}
	for _, s := range r.pool.Status(unknown, time.Now()) {
		f.Accounts = append(f.Accounts, s.AccountStatus)
	}
	doc, err := json.Marshal(f)
	return string(doc), err
}

// ready is the line of an account for /readyz. It never makes /readyz fail.
func (r *reporter) ready(account string) readiness {
	return func(ctx context.Context) (bool, string) {
		unknown, err := r.journal.UnknownSince(ctx)
		if err != nil {
			unknown = time.Time{} // the journal's own line reports it
		}
		now := time.Now()
		for _, s := range r.pool.Status(unknown, now) {
			if s.Account == account {
				works, words := accountLine(s, now)
				if r.short != nil && r.short() != "" {
					return false, words + "; nothing is sent: the journal's disk is too full"
				}
				return works, words
			}
		}
		return true, "active"
	}
}

// accountLine describes the state of an account, and whether it invites and activates.
func accountLine(s engine.BreakerStatus, now time.Time) (works bool, words string) {
	d := onboarding.DescribeBreaker(s.Account, s.Circuit, s.CheckAt, now)
	words, works = d.Text+s.FaultText(), s.Circuit.State == journal.CircuitActive || s.Circuit.State == ""
	if d.Command != "" {
		words += " (`" + d.Command + "`)"
	}
	if !works {
		words += "; invitations and activations wait"
	}
	switch {
	case s.HoldUntil.After(now):
		return false, words + "; earlier requests are unknown: no request before " + s.HoldUntil.UTC().Format(time.RFC3339)
	case s.PermitAt.After(now):
		return works, fmt.Sprintf("%s; the limit of requests is used up (%s), next permit at %s", words, s.RateLimit, s.PermitAt.UTC().Format(time.RFC3339))
	}
	return works, words
}

// A Situation is the state that explains why operations wait: the running workers and the
// states of the accounts.
type Situation struct {
	journal  journal.Journal
	now      time.Time
	running  bool
	accounts map[string]journal.Account
	statuses map[string]onboarding.AccountStatus
	reserve  int64               // for calls, on the journal's disk
	disk     string              // the space that it lacks
	blocked  map[string][]string // account to the owners of the workers whose own checks block it
}

// ReadSituation reads the situation from the journal.
func ReadSituation(ctx context.Context, j journal.Journal) (*Situation, error) {
	s := &Situation{journal: j, now: time.Now(), accounts: map[string]journal.Account{}, statuses: map[string]onboarding.AccountStatus{}, blocked: map[string][]string{}}
	accounts, err := j.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	for _, a := range accounts {
		s.accounts[a.Name] = a
	}
	reports, capacity, err := reportsOfRunning(ctx, j)
	if err != nil {
		return nil, err
	}
	for _, r := range reports {
		s.running = true
		var f workerFacts
		if json.Unmarshal(r.Facts, &f) != nil {
			continue // of another version
		}
		s.reserve = max(s.reserve, f.CallsReserve)
		for _, a := range f.Accounts {
			// The newest report comes first; of several checks the next one counts.
			if a.Blocked != "" {
				s.blocked[a.Account] = append(s.blocked[a.Account], r.Owner)
			}
			known, there := s.statuses[a.Account]
			if !there {
				s.statuses[a.Account] = a
				continue
			}
			if known.CheckAt.IsZero() || !a.CheckAt.IsZero() && a.CheckAt.Before(known.CheckAt) {
				known.CheckAt = a.CheckAt
			}
			if a.Blocked == "" {
				known.Blocked = "" // one worker that can work is enough
			}
			s.statuses[a.Account] = known
		}
	}
	if s.running && capacity.Free >= 0 && capacity.Free < s.reserve {
		s.disk = fmt.Sprintf("%s are free on the journal's disk: calls stop below %s (--journal-reserve); free some space", formatBytes(capacity.Free), formatBytes(s.reserve))
	}
	return s, nil
}

// reportsOfRunning reads the reports of the workers that run, the newest first, and the
// free space, which is -1 if it is unknown.
func reportsOfRunning(ctx context.Context, j journal.Journal) ([]journal.WorkerReport, journal.Capacity, error) {
	reports, err := j.WorkerReports(ctx)
	if err != nil {
		return nil, journal.Capacity{}, err
	}
	capacity, err := j.Capacity(ctx)
	if err != nil {
		capacity.Free = -1
	}
	return slices.DeleteFunc(reports, func(r journal.WorkerReport) bool { return r.Age > reportFresh && !cannotReport(r, capacity) }), capacity, nil
}

// cannotReport reports whether an old report may be of a running worker that cannot
// write a new one. A worker that stopped has deleted its report.
func cannotReport(r journal.WorkerReport, capacity journal.Capacity) bool {
	var f workerFacts
	return json.Unmarshal(r.Facts, &f) == nil && capacity.Free >= 0 && capacity.Free < f.CallsReserve
}

// Running reports whether a worker runs with the journal.
func (s *Situation) Running() bool { return s.running }

// Circuit returns an account's circuit breaker in the journal, or a paused one if the checks of all
// running workers show that their own settings are wrong.
func (s *Situation) Circuit(a journal.Account) journal.Circuit {
	return s.statuses[a.Name].Circuit(a.Circuit)
}

// DescribeCircuit describes an account's circuit breaker.
func (s *Situation) DescribeCircuit(a journal.Account) onboarding.BreakerDescription {
	return onboarding.DescribeBreaker(a.Name, s.Circuit(a), s.CheckAt(a), s.now)
}

// BlockedOn returns the workers that send nothing for an account because their own
// settings are wrong, if others do send.
func (s *Situation) BlockedOn(a journal.Account) []string {
	if s.statuses[a.Name].Blocked != "" {
		return nil // all send nothing: the circuit breaker shows it
	}
	return s.blocked[a.Name]
}

// CheckAt returns when a paused account's token is checked next, as a running worker has
// reported; zero: unknown.
func (s *Situation) CheckAt(a journal.Account) time.Time {
	if at := s.statuses[a.Name].CheckAt; s.Circuit(a).State != journal.CircuitActive && at.After(s.now) {
		return at
	}
	return time.Time{}
}

func (s *Situation) facts(account string) onboarding.Facts {
	f := onboarding.Facts{Now: s.now, Running: s.running, Disk: s.disk, Circuit: s.Circuit(s.accounts[account])}
	f.Status, f.Configured = s.statuses[account]
	return f
}

// AccountObstacles returns the obstacles of all calls of an account.
func (s *Situation) AccountObstacles(a journal.Account) []onboarding.Obstacle {
	return onboarding.AccountObstacles(a.Name, s.facts(a.Name))
}

// Obstacles returns the obstacles that keep an operation from running.
func (s *Situation) Obstacles(ctx context.Context, o journal.OperationRecord) ([]onboarding.Obstacle, error) {
	f := s.facts(o.Shop.Account)
	if o.State == journal.Queued {
		others, err := s.journal.Operations(ctx, journal.OperationFilter{Account: o.Shop.Account, Shop: o.Shop.Shop, OpenOnly: true, Limit: 100})
		if err != nil && !errors.Is(err, journal.ErrNotFound) {
			return nil, err
		}
		for _, other := range others {
			if other.UUID != o.UUID && other.State.HoldsLane() {
				f.Ahead, f.AheadState = other.UUID, other.State
			}
		}
	}
	return onboarding.Obstacles(o, f), nil
}

// WhyWaits returns the text for operators: the obstacles, then the commands that remove
// them.
func WhyWaits(list []onboarding.Obstacle) string {
	var words []string
	for _, o := range list {
		text := o.Text
		if o.Command != "" {
			text += " (`" + o.Command + "`)"
		}
		words = append(words, text)
	}
	return strings.Join(words, "; ")
}
