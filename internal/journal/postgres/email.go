package postgres

import (
	"fmt"

	"invoicebox-worker/internal/journal"
)

// emailRead finds the newest attempt to one address that may have sent an e-mail.
const emailRead = `SELECT started, (ended IS NULL AND deadline > $5)::int FROM attempt
	WHERE account = $1 AND mac = $2 AND started > $3 AND operation <> $4 AND not_sent = 0 AND outcome <> ALL($6::text[])
	ORDER BY started DESC LIMIT 1`

// cooled refuses an attempt while the cool-down of its address lasts. The lock of
// the account's ledger keeps attempts of other replicas out; release makes way
// for others of the same transaction when the attempt is not made.
func (t *tx) cooled(account, operation int64, rule *journal.AddressRule) (release func(), err error) {
	if rule == nil {
		return func() {}, nil
	}
	if len(rule.MACs) == 0 {
		return nil, fmt.Errorf("journal: an address without a look-up MAC")
	}
	last, open := int64(0), false
	for _, mac := range rule.MACs {
		r, err := t.one(emailRead, account, mac, t.now-rule.CoolDown.Microseconds(), operation, t.now, append([]string{}, rule.Without...))
		if err != nil {
			return nil, err
		}
		if r != nil && r.int(0) > last {
			last, open = r.int(0), r.int(1) != 0
		}
	}
	// Nothing is asked for between this look and the mark.
	key := emailKey{account, string(rule.MACs[0])}
	switch {
	case last != 0:
		return nil, &journal.AddressCoolDownError{At: t.j.clock.instant(last), Open: open}
	case t.permits.emails[key]:
		return nil, &journal.AddressCoolDownError{At: t.j.clock.instant(t.now), Open: true}
	}
	t.permits.emails[key] = true
	return func() { delete(t.permits.emails, key) }, nil
}

type emailKey struct {
	account int64
	mac     string
}

// macOf is the column mac of an attempt.
func macOf(rule *journal.AddressRule) any {
	if rule == nil {
		return nil
	}
	return rule.MAC
}
