package sqlite

import (
	"strings"

	"invoicebox-worker/internal/journal"
)

// emailRead finds the newest attempt to one address that may have sent an e-mail.
// The outcomes that sent none are in one text, with a blank before and after each.
const emailRead = `SELECT started, ended IS NULL AND deadline > ?5 FROM attempt INDEXED BY attempt_address
	WHERE account = ?1 AND mac = ?2 AND started > ?3 AND operation <> ?4 AND not_sent = 0 AND instr(?6, ' ' || outcome || ' ') = 0
	ORDER BY started DESC LIMIT 1`

// cooled refuses an attempt while the cool-down of its address lasts.
func (t *tx) cooled(account, operation int64, rule *journal.AddressRule) error {
	if rule == nil {
		return nil
	}
	without := " " + strings.Join(rule.Without, " ") + " "
	last, open := int64(0), false
	for _, mac := range rule.MACs {
		r, err := t.one(emailRead, account, mac, t.now-rule.CoolDown.Microseconds(), operation, t.now, without)
		if err != nil {
			return err
		}
		if r != nil && r.int(0) > last {
			last, open = r.int(0), r.int(1) != 0
		}
	}
	if last == 0 {
		return nil
	}
	return &journal.AddressCoolDownError{At: t.j.clock.instant(last), Open: open}
}

// macOf is the column mac of an attempt.
func macOf(rule *journal.AddressRule) any {
	if rule == nil {
		return nil
	}
	return rule.MAC
}
