package steps

import (
	"errors"
	"slices"

	"invoicebox-worker/internal/journal"
	"invoicebox-worker/internal/journal/rows"
)

const (
	// lastSent finds the newest attempt to one address that may have sent an e-mail.
	lastSent Query = `SELECT started, ended IS NULL AND deadline > $5 AS open FROM attempt /*+ INDEXED BY attempt_address */
		WHERE account = $1 AND mac = $2 AND started > $3 AND operation <> $4 AND not_sent = 0 AND NOT (outcome = ANY($6))
		ORDER BY started DESC LIMIT 1`
	// lastTried is for databases that accept lists of bytes: it finds the newest
	// attempt at each address, whatever its outcome.
	lastTried Query = `SELECT x.operation, a.started FROM unnest($1::bigint[], $2::bytea[]) AS x(operation, mac) JOIN operation o ON o.id = x.operation
		CROSS JOIN LATERAL (SELECT started FROM attempt WHERE account = o.account AND mac = x.mac AND operation <> o.id AND not_sent = 0 ORDER BY started DESC LIMIT 1) a
-- sqlite:
`
)

// address names the address rule that applies to an attempt of an operation.
func (l *Loader) address(operation int64, rule *journal.AddressRule) {
	if rule == nil {
		return
	}
	for _, mac := range rule.MACs {
		l.addressed, l.macs = append(l.addressed, operation), append(l.macs, mac)
	}
}

func (u *Unit) askTried(operations []int64, macs [][]byte) Ask {
	for _, id := range operations {
		u.tried[id] = 0
	}
	return Ask{Query: lastTried, Args: []any{operations, macs}, Each: func(_ []string, values []any) error {
		id, _ := values[0].(int64)
		started, _ := values[1].(int64)
		u.tried[id] = max(u.tried[id], started)
		return nil
	}}
}

// checkCoolDown refuses an attempt during the cool-down of its address. The lock of the
// account's ledger, see [Needs.LockLedgers], blocks attempts of other replicas.
func (u *Unit) checkCoolDown(o *rows.Operation, rule *journal.AddressRule) error {
	if len(rule.MACs) == 0 {
		return errors.New("journal: address has no look-up MAC")
	}
	after := u.now - rule.CoolDown.Microseconds()
	if started, ok := u.tried[o.ID]; ok && started <= after && !u.attemptBegan(o, rule) {
		return nil
	}
	var last journal.AddressCoolDownError
	newest := int64(0)
	for _, mac := range rule.MACs {
		a := first[struct {
			Started int64 `db:"started"`
			Open    bool  `db:"open"`
		}](u, lastSent, o.Account, mac, after, o.ID, u.now, append([]string{}, rule.Without...))
		if a != nil && a.Started > newest {
			newest, last = a.Started, journal.AddressCoolDownError{At: u.clock.Instant(a.Started), Open: a.Open}
		}
	}
	if newest == 0 {
		return nil
	}
	return &last
}

// attemptBegan reports whether an attempt at the address began in this transaction.
func (u *Unit) attemptBegan(o *rows.Operation, rule *journal.AddressRule) bool {
	return slices.ContainsFunc(u.attempts.touched, func(e *entity[rows.Attempt]) bool {
		a := &e.row
		return e.exists && a.Started == u.now && a.Account == o.Account && a.MAC != nil &&
			slices.ContainsFunc(rule.MACs, func(mac []byte) bool { return string(mac) == string(a.MAC) })
	})
}
