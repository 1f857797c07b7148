package onboarding

import (
	"slices"
	"time"

	"invoicebox-worker/internal/journal"
)

// fakeEmail is an attempt that an address rule looks at.
type fakeEmail struct {
	account, mac string
	op           int64
	attempt      journal.AttemptID
	at           time.Time
	open         bool
	notSent      bool
	outcome      string
}

func (f *fakeJournal) cooled(op *fakeOp, rule *journal.AddressRule) error {
	if rule == nil {
		return nil
	}
	for _, e := range slices.Backward(f.emails) {
		known := slices.ContainsFunc(rule.MACs, func(mac []byte) bool { return string(mac) == e.mac })
		if known && e.account == op.Shop.Account && e.op != op.id && !e.notSent && !slices.Contains(rule.Without, e.outcome) && time.Since(e.at) < rule.CoolDown {
			return &journal.AddressCoolDownError{At: e.at, Open: e.open}
		}
	}
	return nil
}

func (f *fakeJournal) emailEnded(id journal.AttemptID, end journal.AttemptEnd) {
	for _, e := range f.emails {
		if e.attempt == id {
			e.open, e.notSent, e.outcome = false, end.NotSent, end.Outcome
		}
	}
}
