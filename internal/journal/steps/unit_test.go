package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

// A fakeTx keeps operations in memory.
type fakeTx struct {
	Tx
	operations map[int64]rows.Operation
	saved      int // rows
	inserted   int
	fails      error // of the next save
	later      []string
}

func (f *fakeTx) Now() (int64, error) { return 1000, nil }

func (f *fakeTx) Signal(Signals) {}

func (f *fakeTx) Load(asks []Ask) error {
	for _, a := range asks {
		for _, k := range a.Keys {
			if o, ok := f.operations[k]; ok {
				if err := a.Row(&o); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (f *fakeTx) Save(changes []Change) error {
	if f.fails != nil {
		return f.fails
	}
	for _, c := range changes {
		f.inserted += len(c.Insert)
		for _, u := range c.Update {
			f.saved++
			if o, ok := u.Row.(*rows.Operation); ok {
				f.operations[o.ID] = *o
			}
		}
	}
	return nil
}

func (f *fakeTx) Later(q Query, args ...any) error {
	f.later = append(f.later, fmt.Sprint(q, args))
	return nil
}

type fakeDatabase struct{ Database }

func (fakeDatabase) Clock() Clock { return fakeClock{} }

type fakeClock struct{ Clock }

func (fakeClock) Stamp(t time.Time) int64 { return t.UnixMicro() }

func TestRun(t *testing.T) {
	refused := errors.New("refused")
	j := New(fakeDatabase{}, false, nil)
	reason := func(id int64, r string, then ...func(*Unit) error) *Request {
		return &Request{Do: func(u *Unit) error {
			o := u.operations.get(u, id)
			o.Reason += r
			for _, f := range then {
				if err := f(u); err != nil {
					return err
				}
			}
			return nil
		}}
	}
	fail := func(*Unit) error { return refused }
	flush := func(u *Unit) error {
		u.flush()
		return nil
	}
	insert := func(u *Unit) error {
		u.insert(j.tables.credential, &rows.Credential{Shop: 1})
		return nil
	}
	for name, c := range map[string]struct {
		requests []*Request
		want     string // reason of operation 1
		errs     []error
		err      error
	}{
		"a request sees what those before it changed":        {requests: []*Request{reason(1, "a"), reason(1, "b")}, want: "ab", errs: []error{nil, nil}},
		"one that fails takes back what it changed":          {requests: []*Request{reason(1, "a"), reason(1, "b", fail), reason(1, "c")}, want: "ac", errs: []error{nil, refused, nil}},
		"also what was saved meanwhile":                      {requests: []*Request{reason(1, "a"), reason(1, "b", flush, fail), reason(1, "c")}, want: "ac", errs: []error{nil, refused, nil}},
		"also by the last":                                   {requests: []*Request{reason(1, "a"), reason(1, "b", flush, fail)}, want: "a", errs: []error{nil, refused}},
		"a change after a save is saved":                     {requests: []*Request{reason(1, "a", flush, func(u *Unit) error { return reason(1, "b").Do(u) })}, want: "ab", errs: []error{nil}},
		"what it would have inserted is not":                 {requests: []*Request{reason(1, "a", insert, fail)}, errs: []error{refused}},
		"but after an insert the transaction is rolled back": {requests: []*Request{reason(1, "a", insert, flush, fail)}, errs: []error{refused}, err: ErrRollback},
		"not for those after it":                             {requests: []*Request{reason(1, "a", insert), reason(1, "b", flush, fail)}, want: "a", errs: []error{nil, refused}},
	} {
		t.Run(name, func(t *testing.T) {
			tx := &fakeTx{operations: map[int64]rows.Operation{1: {ID: 1, State: journal.Planned}}}
			errs := make([]error, len(c.requests))
			if err := j.Run(tx, c.requests, errs); !errors.Is(err, c.err) {
				t.Fatalf("the transaction ended with %v", err)
			}
			for i, err := range errs {
				if !errors.Is(err, c.errs[i]) {
					t.Errorf("request %d ended with %v", i, err)
				}
			}
			if c.err != nil {
				return
			}
			if got := tx.operations[1].Reason; got != c.want {
				t.Errorf("saved is %q, want %q", got, c.want)
			}
		})
	}
	t.Run("an error of the database ends all", func(t *testing.T) {
		tx := &fakeTx{operations: map[int64]rows.Operation{1: {ID: 1}}, fails: context.DeadlineExceeded}
		errs := make([]error, 2)
		if err := j.Run(tx, []*Request{reason(1, "a", flush), reason(1, "b")}, errs); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("it ended with %v", err)
		}
	})
	t.Run("nothing of a step runs after an error of the database", func(t *testing.T) {
		tx := &fakeTx{operations: map[int64]rows.Operation{1: {ID: 1}}, fails: context.DeadlineExceeded}
		errs := make([]error, 1)
		after := func(*Unit) error {
			t.Error("it goes on")
			return refused
		}
		if err := j.Run(tx, []*Request{reason(1, "a", flush, after)}, errs); !errors.Is(err, context.DeadlineExceeded) || errs[0] != nil {
			t.Fatalf("it ended with %v, the request with %v", err, errs[0])
		}
	})
	t.Run("a panic of a step is not taken for one", func(t *testing.T) {
		defer func() {
			if p := recover(); p != "a mistake" {
				t.Errorf("recovered %v", p)
			}
		}()
		_ = j.Run(&fakeTx{}, []*Request{{Do: func(*Unit) error { panic("a mistake") }}}, make([]error, 1))
	})
	t.Run("what did not change is not saved", func(t *testing.T) {
		tx := &fakeTx{operations: map[int64]rows.Operation{1: {ID: 1}}}
		if err := j.Run(tx, []*Request{reason(1, "")}, make([]error, 1)); err != nil || tx.saved != 0 {
			t.Fatalf("%d rows saved, %v", tx.saved, err)
		}
	})
}

// Accounts are locked in the order of their ids, whatever the order of the requests.
func TestRefusalsAreSavedInOrder(t *testing.T) {
	j := New(fakeDatabase{}, false, nil)
	count := func(account int64, n refusals, err error) *Request {
		return &Request{Do: func(u *Unit) error {
			n.more += u.refusals[account].more
			u.countRefusals(account, n)
			return err
		}}
	}
	refused := refusals{more: 1}
	tx := &fakeTx{operations: map[int64]rows.Operation{}}
	if err := j.Run(tx, []*Request{
		count(2, refused, nil), count(1, refusals{reset: true}, nil), count(2, refused, errors.New("failed")), count(2, refused, nil),
	}, make([]error, 4)); err != nil {
		t.Fatal(err)
	}
	want := []string{fmt.Sprint(resetRejections, []any{int64(1)}), fmt.Sprint(addRejections, []any{int64(2), int64(2)})}
	if !slices.Equal(tx.later, want) {
		t.Errorf("the statements are %q, want %q", tx.later, want)
	}
}
