package breaker

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
)

// A table is a journal with one account.
type table struct{ circuit journal.Circuit }

func (t *table) Accounts(context.Context) ([]journal.Account, error) {
	return []journal.Account{{Name: "default", Circuit: t.circuit}}, nil
}

func (t *table) SetCircuit(_ context.Context, _ string, g journal.Circuit, _ *journal.Circuit) error {
	t.circuit = g
	return nil
}

func (t *table) ReserveTrial(_ context.Context, _ string, was journal.Circuit, until time.Time) error {
	if !sameState(was, t.circuit) {
		return journal.ErrStale
	}
	t.circuit.Until = until
	return nil
}

func (*table) BreakerState(string, journal.CircuitState) {}

func (*table) BreakerError(string, string, error, string) {}

// One replica makes the trial, also if another one has claimed an operation for it before it
// learned of the first one's reservation.
func TestGroup_ReserveTrial(t *testing.T) {
	now := time.Now()
	throttled := journal.Circuit{State: journal.CircuitThrottled, Reason: "limited", Until: stored(now.Add(-time.Second)), Since: stored(now.Add(-time.Minute))}
	for name, x := range map[string]struct{ refresh, want bool }{
		"first":               {want: true},
		"learns of the other": {refresh: true},
	} {
		t.Run(name, func(t *testing.T) {
			j := &table{circuit: throttled}
			b := New(Config{Account: "default", Concurrency: 4, LimitCap: time.Hour, RestCap: time.Hour}, j.circuit, now)
			g := NewGroup(j, j, slog.New(slog.DiscardHandler), []*Breaker{b})
			if !b.ReserveTrial(now) {
				t.Fatal("no trial when the limit is over")
			}
			if x.refresh {
				if err := j.ReserveTrial(t.Context(), "default", throttled, stored(now.Add(time.Minute))); err != nil {
					t.Fatal(err)
				}
				if err := g.Refresh(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			before := j.circuit.Until
			if got := g.ReserveTrial(t.Context(), b, time.Minute); got != x.want {
				t.Errorf("the trial is reserved: %v", got)
			}
			if !x.want && !j.circuit.Until.Equal(before) {
				t.Error("the other's reservation was changed")
			}
		})
	}
}
